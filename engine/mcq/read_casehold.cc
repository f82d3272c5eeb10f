// CaseHOLD, in the two forms LexGLUE's authors publish: {context, endings, label}, and the templated {input_text, choices, answer}.
#include <algorithm>

#include "engine/mcq/json_record.h"
#include "engine/mcq/mcq.h"

namespace switchyard {
namespace {

constexpr std::string_view kHead = "US court opinion:\n\"";
constexpr std::string_view kTail = "\"\n\nThe [Masked Holding]";

StatusOr<McqQuestion> ReadTemplated(const nlohmann::json& json) {
  McqQuestion question;
  ASSIGN_OR_RETURN(const std::string text, StringField(json, "input_text"));
  const size_t head = text.find(kHead);
  const size_t tail = text.rfind(kTail);
  if (head == std::string::npos || tail == std::string::npos || tail < head + kHead.size()) {
    return InvalidArgument("\"input_text\": no excerpt in quotes between \"US court opinion:\" and \"The [Masked Holding]\"");
  }
  question.context = text.substr(head + kHead.size(), tail - head - kHead.size());
  question.question = "Which holding does [Masked Holding] stand for?";
  ASSIGN_OR_RETURN(question.options, StringListField(json, "choices"));
  ASSIGN_OR_RETURN(const std::string answer, StringField(json, "answer"));
  const auto found = std::find(question.options.begin(), question.options.end(), answer);
  if (found == question.options.end()) return InvalidArgument("\"answer\" is none of the choices");
  question.answer = static_cast<int>(found - question.options.begin());
  return question;
}

StatusOr<McqQuestion> ReadPlain(const nlohmann::json& json) {
  McqQuestion question;
  ASSIGN_OR_RETURN(question.context, StringField(json, "context"));
  question.question = "Which holding does <HOLDING> stand for?";
  ASSIGN_OR_RETURN(question.options, StringListField(json, "endings"));
  ASSIGN_OR_RETURN(const int64_t label, IntegerField(json, "label"));
  if (label < 0 || label >= static_cast<int64_t>(question.options.size())) {
    return InvalidArgument("\"label\": expected 0 to %d, found %d", static_cast<int64_t>(question.options.size()) - 1, label);
  }
  question.answer = static_cast<int>(label);
  return question;
}

StatusOr<McqQuestion> ReadRecord(const StatusOr<nlohmann::json>& json) {
  RETURN_IF_ERROR(json.status());
  ASSIGN_OR_RETURN(McqQuestion question, json->contains("input_text") ? ReadTemplated(*json) : ReadPlain(*json));
  ASSIGN_OR_RETURN(question.id, OptionalTextField(*json, "id"));
  return question;
}

}  // namespace

Status ParseCaseHold(std::string_view text, const std::string& file, McqSet* set) {
  ForEachJsonLine(text, [&](int64_t line, const StatusOr<nlohmann::json>& json) {
    AddQuestion(ReadRecord(json), file, line, set);
    return true;
  });
  return OkStatus();
}

}  // namespace switchyard
