#include "engine/mcq/mcq.h"

#include <algorithm>
#include <filesystem>

#include "engine/mcq/json_record.h"
#include "engine/mcq/lines.h"
#include "engine/mcq/utf8.h"

namespace switchyard {
namespace {

struct FormatName {
  McqFormat format;
  std::string_view name;
};
constexpr FormatName kNames[] = {
    {McqFormat::kAuto, "auto"}, {McqFormat::kMedMcqa, "medmcqa"}, {McqFormat::kCaseHold, "casehold"},        {McqFormat::kMathQa, "mathqa"},
    {McqFormat::kMmlu, "mmlu"}, {McqFormat::kJsonl, "jsonl"},     {McqFormat::kFreeCodeCamp, "freecodecamp"}};

constexpr std::string_view kNameOne = "name one of medmcqa, casehold, mathqa, mmlu, freecodecamp and jsonl";

// By the keys of the first record that is a JSON object.
McqFormat FormatOfRecord(const nlohmann::json& record) {
  if (record.contains("opa") && record.contains("opb")) return McqFormat::kMedMcqa;
  if (record.contains("endings") || (record.contains("input_text") && record.contains("choices"))) return McqFormat::kCaseHold;
  if (record.contains("Question") && record.contains("Distractor1")) return McqFormat::kFreeCodeCamp;
  if (record.contains("question") && record.contains("options")) return McqFormat::kJsonl;
  return McqFormat::kAuto;
}

StatusOr<McqFormat> DetectFormat(std::string_view text, const std::string& file) {
  const std::string_view body = Trim(text);
  if (!body.empty() && body.front() == '[') return McqFormat::kMathQa;
  if (body.empty() || body.front() != '{') {
    if (std::filesystem::path(file).extension() == ".csv") return McqFormat::kMmlu;
    return InvalidArgument("%s: the format cannot be told from the content; %s", file, kNameOne);
  }
  McqFormat format = McqFormat::kAuto;
  int looked_at = 0;
  ForEachJsonLine(body, [&](int64_t, const StatusOr<nlohmann::json>& record) {
    if (record.ok()) format = FormatOfRecord(*record);
    return format == McqFormat::kAuto && ++looked_at < 20;
  });
  if (format != McqFormat::kAuto) return format;
  return InvalidArgument("%s: JSON lines, but with the keys of no known format; %s", file, kNameOne);
}

}  // namespace

std::string_view McqFormatName(McqFormat format) {
  for (const FormatName& entry : kNames) {
    if (entry.format == format) return entry.name;
  }
  return "?";
}

StatusOr<McqFormat> ParseMcqFormat(std::string_view name) {
  for (const FormatName& entry : kNames) {
    if (entry.name == name) return entry.format;
  }
  return InvalidArgument("format: expected auto, medmcqa, casehold, mathqa, mmlu, freecodecamp or jsonl, found \"%s\"", name);
}

Status CheckQuestion(McqQuestion* question) {
  for (const std::string* text : {&question->question, &question->context, &question->id, &question->explanation}) {
    if (!IsValidUtf8(*text)) return InvalidArgument("the text is not UTF-8");
  }
  if (IsBlank(question->question)) return InvalidArgument("the question is empty");
  if (question->options.size() < 2 || question->options.size() > kMaxMcqOptions) {
    return InvalidArgument("expected 2 to %d options, found %d", kMaxMcqOptions, question->options.size());
  }
  for (size_t i = 0; i < question->options.size(); ++i) {
    std::string& option = question->options[i];
    option = std::string(Trim(option));
    if (option.empty()) return InvalidArgument("option %c is empty", static_cast<char>('A' + i));
    if (!IsValidUtf8(option)) return InvalidArgument("option %c is not UTF-8", static_cast<char>('A' + i));
  }
  if (question->answer < 0 || question->answer >= static_cast<int>(question->options.size())) {
    return InvalidArgument("the answer is option number %d of %d", question->answer + 1, question->options.size());
  }
  return OkStatus();
}

void AddQuestion(StatusOr<McqQuestion> question, const std::string& file, int64_t line, McqSet* set) {
  const Status status = question.ok() ? CheckQuestion(&*question) : question.status();
  if (!status.ok()) {
    set->bad.push_back({file, line, std::string(Message(status))});
    return;
  }
  question->file = file;
  question->line = line;
  if (question->id.empty()) question->id = std::filesystem::path(file).stem().string() + ":" + std::to_string(line);
  set->questions.push_back(*std::move(question));
}

StatusOr<McqSet> ParseMcq(std::string_view text, McqFormat format, const std::string& file) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);  // byte-order mark
  McqSet set;
  if (format == McqFormat::kAuto) {
    ASSIGN_OR_RETURN(format, DetectFormat(text, file));
  }
  Status status;
  switch (format) {
    case McqFormat::kMedMcqa:
      status = ParseMedMcqa(text, file, &set);
      break;
    case McqFormat::kCaseHold:
      status = ParseCaseHold(text, file, &set);
      break;
    case McqFormat::kMathQa:
      status = ParseMathQa(text, file, &set);
      break;
    case McqFormat::kMmlu:
      status = ParseMmlu(text, file, &set);
      break;
    case McqFormat::kFreeCodeCamp:
      status = ParseFreeCodeCamp(text, file, &set);
      break;
    case McqFormat::kJsonl:
      status = ParseOwnJsonl(text, file, &set);
      break;
    case McqFormat::kAuto:
      status = Internal("%s: no format", file);
      break;
  }
  RETURN_IF_ERROR(status);
  for (McqQuestion& question : set.questions) question.format = format;
  return set;
}

std::vector<std::string> McqFilesIn(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      files.push_back(path);
      continue;
    }
    std::vector<std::string> inside;
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      const auto extension = entry.path().extension();
      if (extension == ".csv" || extension == ".json" || extension == ".jsonl") inside.push_back(entry.path().string());
    }
    std::sort(inside.begin(), inside.end());
    files.insert(files.end(), inside.begin(), inside.end());
  }
  return files;
}

StatusOr<McqSet> ReadMcqFiles(const std::vector<std::string>& paths, McqFormat format) {
  McqSet all;
  const std::vector<std::string> files = McqFilesIn(paths);
  if (files.empty()) return NotFound("no .csv, .json or .jsonl file in what was named");
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(file, kMaxMcqFileBytes));
    ASSIGN_OR_RETURN(McqSet set, ParseMcq(text, format, file));
    std::move(set.questions.begin(), set.questions.end(), std::back_inserter(all.questions));
    std::move(set.bad.begin(), set.bad.end(), std::back_inserter(all.bad));
  }
  return all;
}

}  // namespace switchyard
