// The file an evaluation goes on from: a first line that names what is asked of which generations, then a line an answered question.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "client/batch_output.h"
#include "client/eval_plan.h"
#include "engine/base/status.h"

namespace switchyard::client {

struct EvalAnswer {
  EvalVerdict verdict;
  std::string snapshot;
};
using EvalKey = std::tuple<size_t, size_t, size_t>;  // row, set, question: indices
using EvalAnswers = std::map<EvalKey, EvalAnswer>;

// What two runs must share to be one: rows, questions (a hash over all they hold), judges, prompts, whether long ones are cut, and the snapshot each row is pinned to.
std::string EvalIdentity(const std::vector<EvalRow>& rows, const std::vector<EvalSet>& sets, const EvalJudges& judges,
                         const PromptTemplates& templates, bool truncate, const std::vector<std::string>& snapshots);

// Thread-compatible.
class EvalState {
 public:
  // Reads the answers of earlier runs; a torn last line is cut off; a missing file is begun. FAILED_PRECONDITION when the file belongs to
  // another evaluation or has a damaged line.
  static StatusOr<EvalState> Open(const std::string& path, const std::string& identity, const std::vector<EvalRow>& rows,
                                  const std::vector<EvalSet>& sets, EvalAnswers* answers);
  Status Append(const EvalRow& row, const EvalSet& set, size_t question, const EvalAnswer& answer);

 private:
  explicit EvalState(LineAppender lines) : lines_(std::move(lines)) {}
  LineAppender lines_;
};

}  // namespace switchyard::client
