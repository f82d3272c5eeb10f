#include "engine/mcq/csv.h"

namespace switchyard {

void CsvReader::Advance() {
  if (text_[at_] == '\n') ++line_;
  ++at_;
}

void CsvReader::SkipLine() {
  while (!AtEnd() && text_[at_] != '\n') Advance();
  if (!AtEnd()) Advance();
}

Status CsvReader::ReadQuoted(std::string* field) {
  const int64_t opened = line_;
  Advance();
  for (;;) {
    if (AtEnd()) return InvalidArgument("the quote opened in line %d is not closed", opened);
    const char c = text_[at_];
    Advance();
    if (c != '"') {
      *field += c;
    } else if (!AtEnd() && text_[at_] == '"') {
      *field += '"';
      Advance();
    } else {
      break;
    }
  }
  if (AtEnd() || AtLineBreak() || text_[at_] == ',') return OkStatus();
  return InvalidArgument("line %d: expected a comma or the line's end after a closing quote, found \"%s\"", line_, text_.substr(at_, 1));
}

Status CsvReader::ReadRecord(std::vector<std::string>* fields) {
  for (;;) {
    std::string field;
    if (!AtEnd() && text_[at_] == '"') {
      RETURN_IF_ERROR(ReadQuoted(&field));
    } else {
      while (!AtEnd() && !AtLineBreak() && text_[at_] != ',') {
        if (text_[at_] == '"') return InvalidArgument("line %d: a quote inside a field that is not quoted", line_);
        field += text_[at_];
        Advance();
      }
    }
    fields->push_back(std::move(field));
    if (AtEnd()) return OkStatus();
    const bool comma = text_[at_] == ',';
    if (!comma) {
      SkipLine();
      return OkStatus();
    }
    Advance();
  }
}

std::optional<CsvRecord> CsvReader::Next() {
  while (AtLineBreak()) SkipLine();
  if (AtEnd()) return std::nullopt;
  CsvRecord record;
  record.line = line_;
  const size_t begin = at_;
  record.status = ReadRecord(&record.fields);
  if (!record.status.ok()) {
    // A quote that is never closed would swallow the rest of the file: give up this line only.
    at_ = begin;
    line_ = record.line;
    SkipLine();
  }
  return record;
}

}  // namespace switchyard
