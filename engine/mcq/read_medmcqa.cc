// MedMCQA: {"question", "opa", "opb", "opc", "opd", "cop", "id", ...}, one record a line.
#include "engine/mcq/json_record.h"
#include "engine/mcq/mcq.h"

namespace switchyard {
namespace {

// The number of the right option as the file has it; from which number it counts is only known at the end of the file.
struct Record {
  int64_t line = 0;
  StatusOr<McqQuestion> question;
  int64_t cop = 0;
};

StatusOr<McqQuestion> ReadRecord(const StatusOr<nlohmann::json>& json, int64_t* cop) {
  RETURN_IF_ERROR(json.status());
  McqQuestion question;
  ASSIGN_OR_RETURN(question.question, StringField(*json, "question"));
  for (const char* key : {"opa", "opb", "opc", "opd"}) {
    ASSIGN_OR_RETURN(std::string option, StringField(*json, key));
    question.options.push_back(std::move(option));
  }
  ASSIGN_OR_RETURN(*cop, IntegerField(*json, "cop"));
  if (*cop < 0 || *cop > 4) return InvalidArgument("\"cop\": expected 1 to 4 (or 0 to 3), found %d", *cop);
  ASSIGN_OR_RETURN(question.id, OptionalTextField(*json, "id"));
  question.explanation = StringOrNothing(*json, "exp");
  return question;
}

}  // namespace

Status ParseMedMcqa(std::string_view text, const std::string& file, McqSet* set) {
  std::vector<Record> records;
  int64_t line_of_0 = 0, line_of_4 = 0;
  ForEachJsonLine(text, [&](int64_t line, const StatusOr<nlohmann::json>& json) {
    int64_t cop = 0;
    StatusOr<McqQuestion> question = ReadRecord(json, &cop);
    if (question.ok() && cop == 0) line_of_0 = line;
    if (question.ok() && cop == 4) line_of_4 = line;
    records.push_back({line, std::move(question), cop});
    return true;
  });
  if (line_of_0 > 0 && line_of_4 > 0) {
    return InvalidArgument("%s: \"cop\" counts from 0 in line %d but from 1 in line %d", file, line_of_0, line_of_4);
  }
  for (Record& record : records) {
    if (record.question.ok()) record.question->answer = static_cast<int>(record.cop) - (line_of_0 > 0 ? 0 : 1);
    AddQuestion(std::move(record.question), file, record.line, set);
  }
  return OkStatus();
}

}  // namespace switchyard
