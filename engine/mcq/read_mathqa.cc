// MathQA: one JSON array of {"Problem", "options", "correct", ...}.
#include "engine/mcq/json_record.h"
#include "engine/mcq/lines.h"
#include "engine/mcq/mathqa_options.h"
#include "engine/mcq/mcq.h"

namespace switchyard {
namespace {

// The release wraps each rationale in a pair of quotes.
std::string WithoutQuotes(std::string text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = Trim(std::string_view(text).substr(1, text.size() - 2));
  return text;
}

StatusOr<McqQuestion> ReadRecord(const nlohmann::json& json) {
  if (!json.is_object()) return InvalidArgument("expected a JSON object, found %s", json.type_name());
  McqQuestion question;
  ASSIGN_OR_RETURN(question.question, StringField(json, "Problem"));
  ASSIGN_OR_RETURN(const std::string options, StringField(json, "options"));
  ASSIGN_OR_RETURN(question.options, ParseMathQaOptions(options));
  ASSIGN_OR_RETURN(const std::string correct, StringField(json, "correct"));
  if (correct.size() != 1 || correct[0] < 'a' || correct[0] > 'z') {
    return InvalidArgument("\"correct\": expected a letter such as \"a\", found \"%s\"", correct.substr(0, 12));
  }
  question.answer = correct[0] - 'a';
  question.explanation = WithoutQuotes(StringOrNothing(json, "Rationale"));
  return question;
}

}  // namespace

Status ParseMathQa(std::string_view text, const std::string& file, McqSet* set) {
  nlohmann::json array;
  try {
    array = nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::exception& error) {
    return InvalidArgument("%s: not JSON: %s", file, error.what());
  }
  if (!array.is_array()) return InvalidArgument("%s: expected one JSON array of records, found %s", file, array.type_name());
  int64_t number = 0;
  for (const nlohmann::json& record : array) AddQuestion(ReadRecord(record), file, ++number, set);
  return OkStatus();
}

}  // namespace switchyard
