#include "trainer/data/records.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "engine/mcq/json_record.h"
#include "engine/mcq/lines.h"

namespace switchyard::trainer {
namespace {

using ReadLine = StatusOr<Record> (*)(const StatusOr<nlohmann::json>& json);

// Whether the first JSON object among the first lines has all these keys.
bool FirstObjectHas(std::string_view text, const std::vector<const char*>& keys) {
  if (Trim(text.substr(0, 4096)).substr(0, 1) != "{") return false;
  bool found = false;
  int looked_at = 0;
  ForEachJsonLine(text, [&](int64_t, const StatusOr<nlohmann::json>& record) {
    found = record.ok() && std::all_of(keys.begin(), keys.end(), [&](const char* key) { return record->contains(key); });
    return !record.ok() && ++looked_at < 20;
  });
  return found;
}

StatusOr<Record> ReadPair(const StatusOr<nlohmann::json>& json) {
  RETURN_IF_ERROR(json.status());
  Record record;
  ASSIGN_OR_RETURN(record.prompt, StringField(*json, "prompt"));
  ASSIGN_OR_RETURN(record.answer, StringField(*json, "answer"));
  if (IsBlank(record.answer)) return InvalidArgument("\"answer\" is empty");
  return record;
}

StatusOr<Record> ReadChat(const StatusOr<nlohmann::json>& json) {
  RETURN_IF_ERROR(json.status());
  const auto messages = json->find("messages");
  if (messages == json->end() || !messages->is_array()) return InvalidArgument("\"messages\" is missing or no list");
  Record record;
  for (const nlohmann::json& message : *messages) {
    if (!message.is_object()) return InvalidArgument("\"messages\": expected objects, found %s", message.type_name());
    ChatTurn turn;
    ASSIGN_OR_RETURN(turn.role, StringField(message, "role"));
    ASSIGN_OR_RETURN(turn.content, StringField(message, "content"));
    record.turns.push_back(std::move(turn));
  }
  if (record.turns.size() < 2) return InvalidArgument("\"messages\": expected at least two, found %d", record.turns.size());
  if (record.turns.back().role != "assistant")
    return InvalidArgument("\"messages\": the last one is what is learned and must be the assistant's, found \"%s\"",
                           record.turns.back().role);
  record.answer = std::move(record.turns.back().content);
  record.turns.pop_back();
  if (IsBlank(record.answer)) return InvalidArgument("\"messages\": the last one is empty");
  return record;
}

void ParseLines(std::string_view text, const std::string& file, ReadLine read, RecordSet* set) {
  ForEachJsonLine(text, [&](int64_t line, const StatusOr<nlohmann::json>& json) {
    StatusOr<Record> record = read(json);
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
  return InvalidArgument("format: expected auto, pairs, chat, medmcqa, casehold, mathqa, mmlu, freecodecamp or jsonl, found \"%s\"", name);
}

Status ReadFile(const std::string& file, const std::string& format_name, RecordSet* set) {
  ASSIGN_OR_RETURN(std::string text, ReadWholeFile(file, kMaxMcqFileBytes));
  if (std::string_view(text).substr(0, 3) == "\xEF\xBB\xBF") text.erase(0, 3);  // byte-order mark
  const bool guess = format_name == "auto";
  if (format_name == "pairs" || (guess && FirstObjectHas(text, {"prompt", "answer"}))) {
    ParseLines(text, file, &ReadPair, set);
    return OkStatus();
  }
  if (format_name == "chat" || (guess && FirstObjectHas(text, {"messages"}))) {
    ParseLines(text, file, &ReadChat, set);
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const McqFormat format, QuestionFormat(format_name));
  ASSIGN_OR_RETURN(McqSet questions, ParseMcq(text, format, file));
  AddQuestions(std::move(questions), set);
  return OkStatus();
}

}  // namespace

StatusOr<RecordSet> ReadRecords(const DataSource& source) {
  if (source.format != "pairs" && source.format != "chat") RETURN_IF_ERROR(QuestionFormat(source.format).status());
  RecordSet set;
  const std::vector<std::string> files = McqFilesIn(source.paths);
  if (files.empty()) return NotFound("no .csv, .json or .jsonl file in what was named");
  for (const std::string& file : files) RETURN_IF_ERROR(ReadFile(file, source.format, &set));
  return set;
}

}  // namespace switchyard::trainer
