// freeCodeCamp's developer quiz: {"Question", "Answer", "Distractor1", "Distractor2", ..., "Explanation"}, one record a line.
#include "engine/mcq/json_record.h"
#include "engine/mcq/mcq.h"

namespace switchyard {
namespace {

// The file has no order of options. The right one is put at a place drawn from the question's text (FNV-1a, then splitmix64's mixer,
// without which texts that end alike land alike): the same in every run, and no place is favoured.
size_t PlaceOf(const std::string& question, size_t options) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : question) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ull;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebull;
  return (hash ^ (hash >> 31)) % options;
}

StatusOr<McqQuestion> ReadRecord(const StatusOr<nlohmann::json>& json) {
  RETURN_IF_ERROR(json.status());
  McqQuestion question;
  ASSIGN_OR_RETURN(question.question, StringField(*json, "Question"));
  ASSIGN_OR_RETURN(std::string right, StringField(*json, "Answer"));
  for (size_t i = 1; i < kMaxMcqOptions; ++i) {
    const std::string key = "Distractor" + std::to_string(i);
    if (i > 1 && !json->contains(key)) break;
    ASSIGN_OR_RETURN(std::string option, StringField(*json, key.c_str()));
    question.options.push_back(std::move(option));
  }
  const size_t place = PlaceOf(question.question, question.options.size() + 1);
  question.options.insert(question.options.begin() + static_cast<std::ptrdiff_t>(place), std::move(right));
  question.answer = static_cast<int>(place);
  ASSIGN_OR_RETURN(question.id, OptionalTextField(*json, "id"));
  question.explanation = StringOrNothing(*json, "Explanation");
  return question;
}

}  // namespace

Status ParseFreeCodeCamp(std::string_view text, const std::string& file, McqSet* set) {
  ForEachJsonLine(text, [&](int64_t line, const StatusOr<nlohmann::json>& json) {
    AddQuestion(ReadRecord(json), file, line, set);
    return true;
  });
  return OkStatus();
}

}  // namespace switchyard
