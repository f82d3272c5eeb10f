// Multiple-choice questions out of files in the formats their publishers use.
//
//   medmcqa   JSON lines: question, opa..opd, cop. The original release counts cop from 1, the Hugging Face export from 0: a file that has
//   a 0 is
//             taken as counted from 0, any other as counted from 1; one that has both a 0 and a 4 is refused.
//   casehold  JSON lines of LexGLUE: {context, endings, label}, or the templated form {input_text, choices, answer}.
//   mathqa    One JSON array: Problem, options (both "a ) 1 , b ) 2" and "['a ) 1', 'b ) 2']"), correct (a letter).
//   mmlu      CSV (RFC 4180): question, A, B, C, D, answer. With or without a heading line; the answer as A..D, or as 0..3.
//   freecodecamp  JSON lines: Question, Answer, Distractor1, Distractor2, ... The right option's place is drawn from the question's text.
//   jsonl     Our own JSON lines: {"id", "question", "options": [...] or {"A": ...}, "answer": index from 0 or letter, "context",
//             "explanation"}.
//
// A record that cannot be used is listed with its line and the reason; the rest of the file is used.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

enum class McqFormat { kAuto, kMedMcqa, kCaseHold, kMathQa, kMmlu, kFreeCodeCamp, kJsonl };

struct McqQuestion {
  std::string id;       // the file's own, else "<name>:<line>"
  std::string context;  // a passage the question is about; may be empty
  std::string question;
  std::vector<std::string> options;  // 2 to 26
  int answer = 0;                    // index into options
  std::string explanation;           // why, where the file says so: medmcqa's "exp", mathqa's "Rationale", jsonl's "explanation"
  std::string file;
  int64_t line = 0;                     // where the record begins; in mathqa the number of the record
  McqFormat format = McqFormat::kAuto;  // of its file; ParseMcq fills it
};

struct BadRecord {
  std::string file;
  int64_t line = 0;
  std::string reason;
};

struct McqSet {
  std::vector<McqQuestion> questions;
  std::vector<BadRecord> bad;
};

inline constexpr size_t kMaxMcqOptions = 26;
inline constexpr size_t kMaxMcqFileBytes = size_t{512} << 20;

std::string_view McqFormatName(McqFormat format);
// auto, medmcqa, casehold, mathqa, mmlu, freecodecamp, jsonl; INVALID_ARGUMENT for anything else.
StatusOr<McqFormat> ParseMcqFormat(std::string_view name);

// INVALID_ARGUMENT when the format cannot be told, or the text as a whole is not in it. `file` is for messages and ids.
StatusOr<McqSet> ParseMcq(std::string_view text, McqFormat format, const std::string& file);

// Files as they are named; in the place of a directory every *.csv, *.json and *.jsonl in it, in the order of names.
std::vector<std::string> McqFilesIn(const std::vector<std::string>& paths);

// All of McqFilesIn(paths), their sets joined.
StatusOr<McqSet> ReadMcqFiles(const std::vector<std::string>& paths, McqFormat format);

// ---- one function a format, used by ParseMcq; `set` receives questions and bad records
Status ParseMedMcqa(std::string_view text, const std::string& file, McqSet* set);
Status ParseCaseHold(std::string_view text, const std::string& file, McqSet* set);
Status ParseMathQa(std::string_view text, const std::string& file, McqSet* set);
Status ParseFreeCodeCamp(std::string_view text, const std::string& file, McqSet* set);
Status ParseMmlu(std::string_view text, const std::string& file, McqSet* set);
Status ParseOwnJsonl(std::string_view text, const std::string& file, McqSet* set);

// The rules every format shares: UTF-8, a question, 2 to 26 options that are not blank, an answer among them. Trims the options.
Status CheckQuestion(McqQuestion* question);
// Adds the question when it is sound, a bad record otherwise. Fills file, line and, when it is empty, id.
void AddQuestion(StatusOr<McqQuestion> question, const std::string& file, int64_t line, McqSet* set);

}  // namespace switchyard
