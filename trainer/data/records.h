// What a source's files hold, before it is tokenised: questions, pairs of prompt and answer, or chats.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/mcq/mcq.h"
#include "engine/text/tokenizer.h"
#include "trainer/data/example.h"

namespace switchyard::trainer {

// Files of one domain.
struct DataSource {
  std::string domain;
  std::vector<std::string> paths;  // files, and directories of which every *.csv, *.json and *.jsonl is read in the order of names
  // A format of engine/mcq/mcq.h; "pairs", JSON lines {"prompt": "...", "answer": "..."}; "chat", JSON lines
  // {"messages": [{"role": "user", "content": "..."}, ..., {"role": "assistant", "content": "..."}]}; or "auto", told from each file's content.
  std::string format = "auto";
};

struct Record {
  std::optional<McqQuestion> question;
  // Else a pair, joined as it stands (the answer brings its own blank); or, when there are turns, a chat with its last message in `answer`.
  std::vector<ChatTurn> turns;
  std::string prompt, answer;
  std::string file;
  int64_t line = 0;
};

struct RecordSet {
  std::vector<Record> records;  // in the order of the files
  std::vector<BadLine> bad;
};

// NOT_FOUND or INVALID_ARGUMENT for a file that cannot be read at all; single records that cannot be used go to `bad`.
StatusOr<RecordSet> ReadRecords(const DataSource& source);

}  // namespace switchyard::trainer
