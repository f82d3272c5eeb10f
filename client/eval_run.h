// Asks servers everything an evaluation needs and has not yet been told.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/connection.h"
#include "client/eval_plan.h"
#include "client/eval_state.h"
#include "client/retry.h"
#include "client/terminal.h"
#include "engine/base/status.h"
#include "engine/mcq/prompt_template.h"

namespace switchyard::client {

// Servers that answer alike: calls go to one after the other. Thread-safe.
class ServerPool {
 public:
  ServerPool(const std::vector<std::string>& servers, const ConnectionOptions& options);
  ~ServerPool();

  Connection& Next();
  const std::vector<std::unique_ptr<Connection>>& connections() const { return connections_; }

 private:
  struct Turn;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::unique_ptr<Turn> turn_;
};

// A row with where it is asked: the pool is borrowed; `model` is what all its servers serve, and every request is pinned to it.
struct EvalTarget {
  ServerPool* pool = nullptr;
  v1::GetModelResponse model;
};

struct EvalRunOptions {
  EvalJudges judges{};
  PromptTemplates templates = PromptTemplates::Default();
  bool truncate = false;
  int concurrency = 8;
  RetryPolicy retry;
};

struct EvalOutcome {
  std::vector<std::string> failures;  // "row, set, id: what happened": asked again by the next run
  int64_t asked = 0;
  double seconds = 0;
  grpc::Status stopped;  // not OK when a server went away or changed its model; the answers so far are kept
};

// Adds to `answers` (and to `state`, may be null) what is missing of rows x sets. `targets` has an entry a row. Blocks until the end.
StatusOr<EvalOutcome> RunEval(const std::vector<EvalRow>& rows, const std::vector<EvalSet>& sets, const std::vector<EvalTarget>& targets,
                              const EvalRunOptions& options, EvalState* state, Terminal& terminal, EvalAnswers* answers);

}  // namespace switchyard::client
