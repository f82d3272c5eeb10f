// Our own JSON lines: {"id", "question", "options", "answer", "context", "explanation"}; other keys are left alone.
#include "engine/mcq/json_record.h"
#include "engine/mcq/mcq.h"

namespace switchyard {
namespace {

// A list, or an object with the keys A, B, C and so on.
StatusOr<std::vector<std::string>> ReadOptions(const nlohmann::json& json) {
  const auto found = json.find("options");
  if (found == json.end() || !found->is_object()) return StringListField(json, "options");
  std::vector<std::string> options;
  for (size_t i = 0; i < found->size() && i < kMaxMcqOptions; ++i) {
    const std::string letter(1, static_cast<char>('A' + i));
    StatusOr<std::string> option = StringField(*found, letter.c_str());
    if (!option.ok()) return Annotate(option.status(), "\"options\"");
    options.push_back(*std::move(option));
  }
  if (options.size() != found->size()) return InvalidArgument("\"options\": more than %d", kMaxMcqOptions);
  return options;
}

StatusOr<int> ReadAnswer(const nlohmann::json& json, size_t options) {
  const auto found = json.find("answer");
  if (found != json.end() && found->is_string()) {
    const std::string& letter = found->get_ref<const std::string&>();
    if (letter.size() == 1 && letter[0] >= 'A' && letter[0] <= 'Z') return letter[0] - 'A';
    return InvalidArgument("\"answer\": expected an index from 0 or a letter from A, found \"%s\"", letter.substr(0, 20));
  }
  ASSIGN_OR_RETURN(const int64_t index, IntegerField(json, "answer"));
  if (index < 0 || index >= static_cast<int64_t>(options)) {
    return InvalidArgument("\"answer\": expected 0 to %d, found %d", static_cast<int64_t>(options) - 1, index);
  }
  return static_cast<int>(index);
}

StatusOr<McqQuestion> ReadRecord(const StatusOr<nlohmann::json>& json) {
  RETURN_IF_ERROR(json.status());
  McqQuestion question;
  ASSIGN_OR_RETURN(question.id, OptionalTextField(*json, "id"));
  ASSIGN_OR_RETURN(question.context, OptionalTextField(*json, "context"));
  ASSIGN_OR_RETURN(question.question, StringField(*json, "question"));
  ASSIGN_OR_RETURN(question.options, ReadOptions(*json));
  ASSIGN_OR_RETURN(question.answer, ReadAnswer(*json, question.options.size()));
  question.explanation = StringOrNothing(*json, "explanation");
  return question;
}

}  // namespace

Status ParseOwnJsonl(std::string_view text, const std::string& file, McqSet* set) {
  ForEachJsonLine(text, [&](int64_t line, const StatusOr<nlohmann::json>& json) {
    AddQuestion(ReadRecord(json), file, line, set);
    return true;
  });
  return OkStatus();
}

}  // namespace switchyard
