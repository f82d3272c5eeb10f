// UTF-8, lines and CSV.
#include <optional>
#include <string>
#include <vector>

#include "engine/mcq/csv.h"
#include "engine/mcq/lines.h"
#include "engine/mcq/utf8.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/files.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Utf8, AcceptsWholeCharactersAndRefusesTheRest) {
  EXPECT_TRUE(IsValidUtf8("naïve 世界 🙂"));
  EXPECT_FALSE(IsValidUtf8("\xC3"));              // cut
  EXPECT_FALSE(IsValidUtf8("\xC0\xAF"));          // overlong
  EXPECT_FALSE(IsValidUtf8("\xE0\x80\xAF"));      // overlong
  EXPECT_FALSE(IsValidUtf8("\xED\xA0\x80"));      // surrogate
  EXPECT_FALSE(IsValidUtf8("\xF4\x90\x80\x80"));  // above U+10FFFF
  EXPECT_FALSE(IsValidUtf8("\x80"));
}

TEST(LineReaderTest, KeepsNumbersAndTellsATornLastLine) {
  TempDir dir;
  const auto reader = LineReader::Open(dir.Write("f", "one\r\n\nthree"));
  ASSERT_TRUE(reader.ok());
  LineReader lines = std::move(const_cast<LineReader&>(*reader));
  const auto one = lines.Next(), two = lines.Next(), three = lines.Next();
  ASSERT_TRUE(one && two && three);
  EXPECT_EQ(one->text, "one");
  EXPECT_EQ(one->bytes, 5u);
  EXPECT_EQ(two->text, "");
  EXPECT_TRUE(two->complete);
  EXPECT_EQ(three->text, "three");
  EXPECT_EQ(three->number, 3);
  EXPECT_FALSE(three->complete);
  EXPECT_FALSE(lines.Next().has_value());
}

TEST(LineReaderTest, LongLinesAreReadWholeAndTooLongOnesSkipped) {
  TempDir dir;
  for (const size_t length : {size_t{16382}, size_t{16383}, size_t{16384}, size_t{50000}}) {
    auto reader = LineReader::Open(dir.Write("f", std::string(length, 'x') + "\nnext"), 60000);
    ASSERT_TRUE(reader.ok());
    EXPECT_EQ(reader->Next()->text.size(), length);
    EXPECT_EQ(reader->Next()->text, "next");
    EXPECT_FALSE(reader->Next().has_value());
  }
  auto reader = LineReader::Open(dir.Write("f", std::string(50000, 'x') + "\nnext\n"), 40000);
  ASSERT_TRUE(reader.ok());
  const auto first = reader->Next();
  EXPECT_TRUE(first->too_long);
  EXPECT_EQ(first->bytes, 50001u);
  EXPECT_EQ(reader->Next()->text, "next");
}

TEST(LineReaderTest, NamesAFileThatIsNotThere) {
  const auto reader = LineReader::Open("no/such/file");
  ASSERT_FALSE(reader.ok());
  EXPECT_THAT(std::string(Message(reader.status())), HasSubstr("no/such/file"));
}

std::vector<CsvRecord> ReadCsv(std::string_view text) {
  std::vector<CsvRecord> records;
  CsvReader reader(text);
  while (auto record = reader.Next()) records.push_back(*std::move(record));
  return records;
}

TEST(Csv, QuotedFieldsHoldCommasQuotesAndLineBreaks) {
  const auto records = ReadCsv("a,\"b,c\",\"say \"\"hi\"\"\"\r\n\"two\nlines\",,x\n");
  ASSERT_EQ(records.size(), 2u);
  EXPECT_THAT(records[0].fields, ElementsAre("a", "b,c", "say \"hi\""));
  EXPECT_THAT(records[1].fields, ElementsAre("two\nlines", "", "x"));
  EXPECT_EQ(records[1].line, 2);
}

TEST(Csv, ABrokenRecordIsNamedAndTheNextLineIsRead) {
  const auto records = ReadCsv("a,b\"c\n1,2\n\"x\"y,3\n4,5\n\"open,6\n7,8");
  ASSERT_EQ(records.size(), 6u);
  EXPECT_THAT(std::string(Message(records[0].status)), HasSubstr("quote inside"));
  EXPECT_THAT(records[1].fields, ElementsAre("1", "2"));
  EXPECT_THAT(std::string(Message(records[2].status)), HasSubstr("after a closing quote"));
  EXPECT_THAT(records[3].fields, ElementsAre("4", "5"));
  EXPECT_THAT(std::string(Message(records[4].status)), HasSubstr("line 5 is not closed"));
  EXPECT_THAT(records[5].fields, ElementsAre("7", "8"));
  EXPECT_EQ(records[5].line, 6);
}

TEST(Csv, AFieldAfterTheLastCommaIsEmptyNotMissing) {
  EXPECT_THAT(ReadCsv("a,").front().fields, ElementsAre("a", ""));
  EXPECT_THAT(ReadCsv("a,\nb").front().fields, ElementsAre("a", ""));
  EXPECT_TRUE(ReadCsv("\n\r\n\n").empty());
}

}  // namespace
}  // namespace switchyard
