// MMLU: CSV of question, A, B, C, D, answer. The original has no heading and letters; exports of the Hugging Face form have both a heading
// and numbers from 0.
#include "engine/mcq/csv.h"
#include "engine/mcq/lines.h"
#include "engine/mcq/mcq.h"

namespace switchyard {
namespace {

constexpr size_t kFields = 6;

bool IsHeading(const CsvRecord& record) {
  return record.status.ok() && record.fields.size() == kFields && record.fields.front() == "question" && record.fields.back() == "answer";
}

StatusOr<int> ReadAnswer(std::string_view text) {
  text = Trim(text);
  if (text.size() == 1 && text[0] >= 'A' && text[0] <= 'D') return text[0] - 'A';
  if (text.size() == 1 && text[0] >= '0' && text[0] <= '3') return text[0] - '0';
  return InvalidArgument("the answer: expected A to D, or 0 to 3, found \"%s\"", text.substr(0, 20));
}

StatusOr<McqQuestion> ReadRecord(const CsvRecord& record) {
  RETURN_IF_ERROR(record.status);
  if (record.fields.size() != kFields) return InvalidArgument("expected %d fields, found %d", kFields, record.fields.size());
  McqQuestion question;
  question.question = record.fields[0];
  question.options.assign(record.fields.begin() + 1, record.fields.end() - 1);
  ASSIGN_OR_RETURN(question.answer, ReadAnswer(record.fields.back()));
  return question;
}

}  // namespace

Status ParseMmlu(std::string_view text, const std::string& file, McqSet* set) {
  CsvReader reader(text);
  bool first = true;
  while (const std::optional<CsvRecord> record = reader.Next()) {
    const bool heading = first && IsHeading(*record);
    first = false;
    if (!heading) AddQuestion(ReadRecord(*record), file, record->line, set);
  }
  return OkStatus();
}

}  // namespace switchyard
