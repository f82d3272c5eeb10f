#include "trainer/data/records.h"

#include <utility>

#include "engine/mcq/json_record.h"
#include "engine/mcq/lines.h"

namespace switchyard::trainer {
namespace {

constexpr std::string_view kPairs = "pairs";

// Whether the first JSON object among the first lines is a pair.
bool LooksLikePairs(std::string_view text) {
  if (Trim(text.substr(0, 4096)).substr(0, 1) != "{") return false;
  bool pairs = false;
  int looked_at = 0;
  ForEachJsonLine(text, [&](int64_t, const StatusOr<nlohmann::json>& record) {
    pairs = record.ok() && record->contains("prompt") && record->contains("answer");
    return !record.ok() && ++looked_at < 20;
  });
  return pairs;
}

StatusOr<Record> ReadPair(const StatusOr<nlohmann::json>& json) {
  RETURN_IF_ERROR(json.status());
  Record record;
  ASSIGN_OR_RETURN(record.prompt, StringField(*json, "prompt"));
  ASSIGN_OR_RETURN(record.answer, StringField(*json, "answer"));
  if (IsBlank(record.answer)) return InvalidArgument("\"answer\" is empty");
  return record;
}

void ParsePairs(std::string_view text, const std::string& file, RecordSet* set) {
  ForEachJsonLine(text, [&](int64_t line, const StatusOr<nlohmann::json>& json) {
    StatusOr<Record> record = ReadPair(json);
    if (record.ok()) {
      record->file = file;
      record->line = line;
      set->records.push_back(*std::move(record));
    } else {
      set->bad.push_back({file, line, std::string(Message(record.status()))});
    }
    return true;
  });
}

void AddQuestions(McqSet questions, RecordSet* set) {
  for (McqQuestion& question : questions.questions) {
    Record record;
    record.file = question.file;
    record.line = question.line;
    record.question = std::move(question);
    set->records.push_back(std::move(record));
  }
  for (BadRecord& bad : questions.bad) set->bad.push_back({std::move(bad.file), bad.line, std::move(bad.reason)});
}

StatusOr<McqFormat> QuestionFormat(const std::string& name) {
  StatusOr<McqFormat> format = ParseMcqFormat(name);
  if (format.ok()) return format;
  return InvalidArgument("format: expected auto, pairs, medmcqa, casehold, mathqa, mmlu, freecodecamp or jsonl, found \"%s\"", name);
}

Status ReadFile(const std::string& file, const std::string& format_name, RecordSet* set) {
  ASSIGN_OR_RETURN(std::string text, ReadWholeFile(file, kMaxMcqFileBytes));
  if (std::string_view(text).substr(0, 3) == "\xEF\xBB\xBF") text.erase(0, 3);  // byte-order mark
  if (format_name == kPairs || (format_name == "auto" && LooksLikePairs(text))) {
    ParsePairs(text, file, set);
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const McqFormat format, QuestionFormat(format_name));
  ASSIGN_OR_RETURN(McqSet questions, ParseMcq(text, format, file));
  AddQuestions(std::move(questions), set);
  return OkStatus();
}

}  // namespace

StatusOr<RecordSet> ReadRecords(const DataSource& source) {
  if (source.format != kPairs) RETURN_IF_ERROR(QuestionFormat(source.format).status());
  RecordSet set;
  const std::vector<std::string> files = McqFilesIn(source.paths);
  if (files.empty()) return NotFound("no .csv, .json or .jsonl file in what was named");
  for (const std::string& file : files) RETURN_IF_ERROR(ReadFile(file, source.format, &set));
  return set;
}

}  // namespace switchyard::trainer
