#include "trainer/log/event_writer.h"

#include <unistd.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "trainer/log/crc32c.h"

namespace switchyard::trainer {

namespace {

static_assert(std::endian::native == std::endian::little, "records are little-endian");

template <typename T>
void AppendRaw(T value, std::string* out) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out->append(bytes, sizeof(T));
}

// The wire format of protocol buffers, as much of it as an event needs.
class Message {
 public:
  Message& Varint(int field, uint64_t value) {
    Tag(field, 0);
    Raw(value);
    return *this;
  }
  Message& Double(int field, double value) {
    Tag(field, 1);
    AppendRaw(value, &bytes_);
    return *this;
  }
  Message& Float(int field, float value) {
    Tag(field, 5);
    AppendRaw(value, &bytes_);
    return *this;
  }
  Message& Bytes(int field, std::string_view value) {
    Tag(field, 2);
    Raw(value.size());
    bytes_.append(value);
    return *this;
  }
  Message& Sub(int field, const Message& message) { return Bytes(field, message.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void Tag(int field, int wire_type) { Raw(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(wire_type)); }
  void Raw(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  std::string bytes_;
};

double WallSeconds() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

class FileEventWriter final : public EventWriter {
 public:
  FileEventWriter(std::FILE* file, std::string path) : file_(file), path_(std::move(path)) {}
  ~FileEventWriter() override { std::fclose(file_); }

  Status Begin() { return Write(Message().Double(1, WallSeconds()).Bytes(3, "brain.Event:2")); }

  Status Scalar(std::string_view tag, int64_t step, double value) override {
    return WriteValue(step, Message().Bytes(1, tag).Float(2, static_cast<float>(value)));
  }

  // As TensorBoard's text plugin wants it: a string tensor of one element.
  Status Text(std::string_view tag, int64_t step, std::string_view markdown) override {
    constexpr uint64_t kString = 7, kDataClassTensor = 2;
    const Message tensor = Message().Varint(1, kString).Sub(2, Message().Sub(2, Message().Varint(1, 1))).Bytes(8, markdown);
    const Message metadata = Message().Sub(1, Message().Bytes(1, "text")).Varint(4, kDataClassTensor);
    return WriteValue(step, Message().Bytes(1, tag).Sub(8, tensor).Sub(9, metadata));
  }

  Status Start(int64_t step) override {
    constexpr uint64_t kStart = 1;  // SessionLog.SessionStatus
    return Write(Message().Double(1, WallSeconds()).Varint(2, static_cast<uint64_t>(step)).Sub(7, Message().Varint(1, kStart)));
  }

  Status Flush() override { return std::fflush(file_) == 0 ? OkStatus() : DataLoss("%s: cannot be written", path_); }

 private:
  Status WriteValue(int64_t step, const Message& value) {
    return Write(Message().Double(1, WallSeconds()).Varint(2, static_cast<uint64_t>(step)).Sub(5, Message().Sub(1, value)));
  }

  // TFRecord: length, its masked CRC, payload, its masked CRC.
  Status Write(const Message& event) {
    std::string record;
    AppendRaw(static_cast<uint64_t>(event.bytes().size()), &record);
    AppendRaw(MaskedCrc32c(record), &record);
    record += event.bytes();
    AppendRaw(MaskedCrc32c(event.bytes()), &record);
    if (std::fwrite(record.data(), 1, record.size(), file_) == record.size()) return OkStatus();
    return DataLoss("%s: cannot be written", path_);
  }

  std::FILE* file_;
  std::string path_;
};

}  // namespace

StatusOr<std::unique_ptr<EventWriter>> EventWriter::Create(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return FailedPrecondition("%s: cannot be created: %s", directory, error.message());
  char host[256] = "localhost";
  gethostname(host, sizeof(host) - 1);
  static std::atomic<int> made = 0;
  const std::string path =
      absl::StrFormat("%s/events.out.tfevents.%010d.%s.%d.%d", directory, static_cast<int64_t>(WallSeconds()), host, getpid(), made++);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return FailedPrecondition("%s: cannot be created: %s", path, std::strerror(errno));
  auto writer = std::make_unique<FileEventWriter>(file, path);
  RETURN_IF_ERROR(writer->Begin());
  RETURN_IF_ERROR(writer->Flush());
  return writer;
}

}  // namespace switchyard::trainer
