#include "trainer/log/event_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "trainer/log/crc32c.h"

namespace switchyard::trainer {
namespace {

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

template <typename T>
T Take(std::string_view* bytes) {
  T value{};
  EXPECT_GE(bytes->size(), sizeof(T));
  std::memcpy(&value, bytes->data(), sizeof(T));
  bytes->remove_prefix(sizeof(T));
  return value;
}

// A message's fields, by number; nested ones are bytes. An independent reading of the wire format.
struct Field {
  uint64_t number = 0;
  std::string bytes;
};
std::multimap<int, Field> Parse(std::string_view bytes) {
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes.front());
      bytes.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  std::multimap<int, Field> fields;
  while (!bytes.empty()) {
    const uint64_t tag = varint();
    Field field;
    const size_t fixed = (tag & 7) == 1 ? 8 : (tag & 7) == 5 ? 4 : 0;
    if ((tag & 7) == 0) {
      field.number = varint();
    } else {
      const size_t size = fixed != 0 ? fixed : varint();
      field.bytes = bytes.substr(0, size);
      bytes.remove_prefix(size);
    }
    fields.emplace(static_cast<int>(tag >> 3), field);
  }
  return fields;
}

std::vector<std::string> Records(std::string_view bytes) {
  std::vector<std::string> records;
  while (!bytes.empty()) {
    const std::string_view length_bytes = bytes.substr(0, 8);
    const auto length = Take<uint64_t>(&bytes);
    EXPECT_EQ(Take<uint32_t>(&bytes), MaskedCrc32c(length_bytes));
    const std::string_view payload = bytes.substr(0, length);
    bytes.remove_prefix(length);
    EXPECT_EQ(Take<uint32_t>(&bytes), MaskedCrc32c(payload));
    records.emplace_back(payload);
  }
  return records;
}

// RFC 3720, B.4.
TEST(Crc32cTest, TheStandardsVectors) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
}

TEST(EventWriterTest, WritesWhatTensorBoardReads) {
  const std::filesystem::path directory = std::filesystem::temp_directory_path() / ("event_writer_" + std::to_string(getpid()));
  std::filesystem::remove_all(directory);
  {
    auto writer = EventWriter::Create(directory);
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE((*writer)->Scalar("train/loss", 300, 1.5).ok());
    ASSERT_TRUE((*writer)->Text("run/note", 7, "**kept**").ok());
    ASSERT_TRUE((*writer)->Start(8).ok());
    ASSERT_TRUE((*writer)->Flush().ok());
  }
  std::vector<std::string> records;
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    EXPECT_TRUE(entry.path().filename().string().starts_with("events.out.tfevents."));
    records = Records(ReadFile(entry.path()));
    ++files;
  }
  std::filesystem::remove_all(directory);
  ASSERT_EQ(files, 1);
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(Parse(records[0]).find(3)->second.bytes, "brain.Event:2");
  const auto scalar_event = Parse(records[1]);
  EXPECT_EQ(scalar_event.find(2)->second.number, 300u);
  const auto scalar = Parse(Parse(scalar_event.find(5)->second.bytes).find(1)->second.bytes);
  EXPECT_EQ(scalar.find(1)->second.bytes, "train/loss");
  float value = 0;
  std::memcpy(&value, scalar.find(2)->second.bytes.data(), 4);
  EXPECT_EQ(value, 1.5f);
  const auto text = Parse(Parse(Parse(records[2]).find(5)->second.bytes).find(1)->second.bytes);
  EXPECT_EQ(Parse(text.find(8)->second.bytes).find(8)->second.bytes, "**kept**");
  const auto start = Parse(records[3]);
  EXPECT_EQ(start.find(2)->second.number, 8u);
  EXPECT_EQ(Parse(start.find(7)->second.bytes).find(1)->second.number, 1u);  // SessionLog.START
  EXPECT_EQ(Parse(Parse(text.find(9)->second.bytes).find(1)->second.bytes).find(1)->second.bytes, "text");
}

}  // namespace
}  // namespace switchyard::trainer
