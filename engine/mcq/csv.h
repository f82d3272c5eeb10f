// Comma-separated values as RFC 4180 has them: quoted fields may hold commas, line breaks and doubled quotes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

struct CsvRecord {
  int64_t line = 0;  // where it begins, from 1
  std::vector<std::string> fields;
  Status status;  // INVALID_ARGUMENT when the record breaks the rules; reading goes on at the next line
};

// Thread-compatible. The text must outlive the reader. Takes \n and \r\n; empty lines are passed over.
class CsvReader {
 public:
  explicit CsvReader(std::string_view text) : text_(text) {}

  // Nothing at the end of the text.
  std::optional<CsvRecord> Next();

 private:
  Status ReadRecord(std::vector<std::string>* fields);
  Status ReadQuoted(std::string* field);
  bool AtLineBreak() const { return at_ < text_.size() && (text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n"); }
  bool AtEnd() const { return at_ >= text_.size(); }
  void Advance();
  void SkipLine();

  std::string_view text_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace switchyard
