// Asks a server all questions of a set and judges the answers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "client/mcq_judge.h"
#include "client/retry.h"
#include "client/terminal.h"
#include "engine/base/status.h"
#include "engine/mcq/mcq.h"
#include "engine/mcq/prompt_template.h"
#include "grpcpp/support/status.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard::client {

struct McqRunOptions {
  PromptTemplates templates = PromptTemplates::Default();
  JudgeSelection judges;
  v1::ScoreRequest common;  // routing, boundary, truncation: what all requests share
  int concurrency = 8;
  RetryPolicy retry;
  std::string output;  // a line a question; "" for none. Written anew.
};

struct McqOutcome {
  McqTally tally;
  double seconds = 0;
  double questions_per_second = 0;
  // Not OK when the server went away; the tally then holds what was answered before.
  grpc::Status stopped;
};

using ScoreCall = std::function<grpc::Status(const v1::ScoreRequest&, v1::ScoreResponse*)>;
using AnswerFn = std::function<void(const McqAnswer&)>;

// One question by the judges of `options`, each call repeated while the server is busy or away. Blocks; thread-safe where `score` is.
McqAnswer AnswerQuestion(const McqQuestion& question, const McqRunOptions& options, const ScoreCall& score);

// Up to `concurrency` questions at once; `on_answer` (may be null) sees each in the order of the set, on the calling thread. DATA_LOSS or
// INVALID_ARGUMENT when the output cannot be written.
StatusOr<McqOutcome> RunMcq(const std::vector<McqQuestion>& questions, const McqRunOptions& options, const ScoreCall& score,
                            Terminal& terminal, const AnswerFn& on_answer);

}  // namespace switchyard::client
