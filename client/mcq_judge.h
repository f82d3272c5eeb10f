// Judges of a multiple-choice question: which option a model's log-probabilities choose, and how often that is right.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/mcq/mcq.h"
#include "engine/mcq/prompt_template.h"
#include "grpcpp/support/status.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard::client {

// The letter after a prompt that shows the options; or the option's text after a prompt that does not, by five normalisations.
enum McqJudge { kJudgeLetter, kJudgeSum, kJudgePerToken, kJudgePerCharacter, kJudgePerByte, kJudgePmi, kJudgeCount };

struct JudgeName {
  std::string_view id;     // in JSON
  std::string_view label;  // on the screen
};
extern const std::array<JudgeName, kJudgeCount> kJudgeNames;

struct JudgeSelection {
  bool letter = true;
  bool text = true;
};
// letter, text or both.
StatusOr<JudgeSelection> ParseJudgeSelection(std::string_view text);

// `common` carries routing, boundary and what else all questions share.
v1::ScoreRequest LetterRequest(const McqQuestion& question, const PromptTemplates& templates, const v1::ScoreRequest& common);
v1::ScoreRequest TextRequest(const McqQuestion& question, const PromptTemplates& templates, const v1::ScoreRequest& common);

// What came back for one question.
struct McqAnswer {
  McqQuestion question;
  grpc::Status status;
  std::optional<v1::ScoreResponse> letter;
  std::optional<v1::ScoreResponse> text;
};

// INTERNAL when the reply does not fit the question (count of scores, winners out of range).
grpc::Status CheckReply(const McqQuestion& question, const v1::ScoreResponse& reply);

// The option each judge chose; nothing where the judge did not run or is not defined (PMI without its second term, an option of no length).
using McqVerdict = std::array<std::optional<int>, kJudgeCount>;
McqVerdict Judge(const McqAnswer& answer);

// One line of --output: id, file, line, answer, the winners and every figure of every option; or the error.
std::string AnswerToJson(const McqAnswer& answer);

struct JudgeTally {
  int64_t n = 0;
  int64_t correct = 0;
};

// Counts over a run. Thread-compatible.
class McqTally {
 public:
  void Add(const McqAnswer& answer);

  int64_t answered() const { return answered_; }
  const std::vector<std::string>& failures() const { return failures_; }  // "id (file:line): what happened"
  const std::array<JudgeTally, kJudgeCount>& judges() const { return judges_; }
  const std::set<std::string>& snapshots() const { return snapshots_; }  // generations that answered
  // Accuracy of choosing blindly: the mean of 1 / options over the answered questions.
  double chance() const { return answered_ > 0 ? chance_sum_ / static_cast<double>(answered_) : 0; }

 private:
  int64_t answered_ = 0;
  double chance_sum_ = 0;
  std::array<JudgeTally, kJudgeCount> judges_{};
  std::vector<std::string> failures_;
  std::set<std::string> snapshots_;
};

}  // namespace switchyard::client
