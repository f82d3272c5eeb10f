#include "client/mcq_judge.h"

#include "absl/strings/str_format.h"
#include "client/rpc_error.h"
#include "nlohmann/json.hpp"

namespace switchyard::client {
namespace {

using Json = nlohmann::ordered_json;

Json OptionFigures(const v1::ContinuationScore& score) {
  Json json = {{"logprob", score.logprob()},
               {"tokens", score.tokens()},
               {"characters", score.characters()},
               {"bytes", score.bytes()},
               {"is_greedy", score.is_greedy()}};
  if (score.has_per_token()) json["per_token"] = score.per_token();
  if (score.has_per_character()) json["per_character"] = score.per_character();
  if (score.has_per_byte()) json["per_byte"] = score.per_byte();
  if (score.has_pmi()) json["pmi"] = score.pmi();
  return json;
}

Json ReplyFigures(const v1::ScoreResponse& reply) {
  Json options = Json::array();
  for (const v1::ContinuationScore& score : reply.scores()) options.push_back(OptionFigures(score));
  return options;
}

bool InRange(int32_t index, const McqQuestion& question) { return index >= 0 && index < static_cast<int32_t>(question.options.size()); }

}  // namespace

const std::array<JudgeName, kJudgeCount> kJudgeNames = {{{"letter", "letter"},
                                                         {"text_sum", "text, sum"},
                                                         {"text_per_token", "text, per token"},
                                                         {"text_per_character", "text, per character"},
                                                         {"text_per_byte", "text, per byte"},
                                                         {"text_pmi", "text, PMI"}}};

StatusOr<JudgeSelection> ParseJudgeSelection(std::string_view text) {
  if (text == "letter") return JudgeSelection{true, false};
  if (text == "text") return JudgeSelection{false, true};
  if (text == "both") return JudgeSelection{true, true};
  return InvalidArgument("--judge: expected letter, text or both, found \"%s\"", text);
}

v1::ScoreRequest LetterRequest(const McqQuestion& question, const PromptTemplates& templates, const v1::ScoreRequest& common) {
  v1::ScoreRequest request = common;
  request.set_id(question.id);
  request.set_text(RenderPrompt(templates.letter, question));
  for (size_t i = 0; i < question.options.size(); ++i) request.add_continuations()->set_text(std::string(" ") + static_cast<char>('A' + i));
  return request;
}

v1::ScoreRequest TextRequest(const McqQuestion& question, const PromptTemplates& templates, const v1::ScoreRequest& common) {
  v1::ScoreRequest request = common;
  request.set_id(question.id);
  request.set_text(RenderPrompt(templates.text, question));
  for (const std::string& option : question.options) request.add_continuations()->set_text(" " + option);
  request.set_unconditional_text(templates.unconditional);
  return request;
}

grpc::Status CheckReply(const McqQuestion& question, const v1::ScoreResponse& reply) {
  const auto wrong = [](std::string what) { return grpc::Status(grpc::StatusCode::INTERNAL, "a reply that does not fit: " + what); };
  if (reply.scores_size() != static_cast<int>(question.options.size())) {
    return wrong(absl::StrFormat("%d scores for %d options", reply.scores_size(), question.options.size()));
  }
  const v1::ScoreWinners& w = reply.winners();
  for (const int32_t index : {w.sum(), w.per_token(), w.per_character(), w.per_byte(), w.pmi()}) {
    if (!InRange(index, question)) return wrong(absl::StrFormat("winner %d of %d options", index, question.options.size()));
  }
  return grpc::Status::OK;
}

McqVerdict Judge(const McqAnswer& answer) {
  McqVerdict verdict;
  if (answer.letter.has_value()) verdict[kJudgeLetter] = answer.letter->winners().sum();
  if (!answer.text.has_value()) return verdict;
  const v1::ScoreWinners& winners = answer.text->winners();
  verdict[kJudgeSum] = winners.sum();
  if (winners.has_per_token()) verdict[kJudgePerToken] = winners.per_token();
  if (winners.has_per_character()) verdict[kJudgePerCharacter] = winners.per_character();
  if (winners.has_per_byte()) verdict[kJudgePerByte] = winners.per_byte();
  if (winners.has_pmi()) verdict[kJudgePmi] = winners.pmi();
  return verdict;
}

std::string AnswerToJson(const McqAnswer& answer) {
  const McqQuestion& question = answer.question;
  Json json = {{"id", question.id}, {"file", question.file}, {"line", question.line}, {"answer", question.answer}};
  if (!answer.status.ok()) {
    json["error"] = {{"code", static_cast<int>(answer.status.error_code())}, {"message", answer.status.error_message()}};
  } else {
    Json winners = Json::object();
    const McqVerdict verdict = Judge(answer);
    for (int judge = 0; judge < kJudgeCount; ++judge) {
      if (verdict[judge].has_value()) winners[std::string(kJudgeNames[judge].id)] = *verdict[judge];
    }
    json["winners"] = std::move(winners);
    if (answer.letter.has_value()) json["letter"] = ReplyFigures(*answer.letter);
    if (answer.text.has_value()) json["text"] = ReplyFigures(*answer.text);
    json["snapshot"] = (answer.text.has_value() ? *answer.text : *answer.letter).generations().snapshot();
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void McqTally::Add(const McqAnswer& answer) {
  const McqQuestion& question = answer.question;
  if (!answer.status.ok()) {
    failures_.push_back(absl::StrFormat("%s (%s:%d): %s: %s", question.id, question.file, question.line,
                                        CodeName(answer.status.error_code()), answer.status.error_message()));
    return;
  }
  ++answered_;
  chance_sum_ += 1.0 / static_cast<double>(question.options.size());
  for (const auto* reply : {&answer.letter, &answer.text}) {
    if (reply->has_value()) snapshots_.insert((*reply)->generations().snapshot());
  }
  const McqVerdict verdict = Judge(answer);
  for (int judge = 0; judge < kJudgeCount; ++judge) {
    if (!verdict[judge].has_value()) continue;
    ++judges_[judge].n;
    if (*verdict[judge] == question.answer) ++judges_[judge].correct;
  }
}

}  // namespace switchyard::client
