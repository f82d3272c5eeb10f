// Zip archives as torch.save lays them out, and with anything about them wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace switchyard::testing_zip {

template <typename T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

struct Entry {
  std::string name, data;
  uint16_t method = 0, flags = 0;
  std::string local_name = name;
};

class ZipBuilder {
 public:
  std::vector<Entry> entries;
  bool zip64 = false;
  std::string comment;
  int64_t shift = 0;  // added to every offset of the directory
  uint16_t extra_count = 0;

  ZipBuilder& Add(const std::string& name, const std::string& data) {
    entries.push_back({name, data});
    return *this;
  }

  std::string Build() const {
    std::string file, central;
    for (const Entry& e : entries) {
      const auto at = static_cast<uint64_t>(static_cast<int64_t>(file.size()) + shift);
      const auto size = static_cast<uint32_t>(e.data.size());
      file += Raw(0x04034b50u) + Raw<uint16_t>(20) + Raw(e.flags) + Raw(e.method) + Raw(0u) + Raw(0u) + Raw(size) + Raw(size) +
              Raw(static_cast<uint16_t>(e.local_name.size())) + Raw<uint16_t>(0) + e.local_name + e.data;
      const std::string extra = zip64 ? Raw<uint16_t>(9) + Raw<uint16_t>(1) + "x" + Raw<uint16_t>(1) + Raw<uint16_t>(24) +
                                            Raw<uint64_t>(size) + Raw<uint64_t>(size) + Raw(at)
                                      : "";
      const uint32_t said = zip64 ? 0xffffffffu : size;
      central += Raw(0x02014b50u) + Raw<uint16_t>(20) + Raw<uint16_t>(20) + Raw(e.flags) + Raw(e.method) + Raw(0u) + Raw(0u) + Raw(said) +
                 Raw(said) + Raw(static_cast<uint16_t>(e.name.size())) + Raw(static_cast<uint16_t>(extra.size())) + Raw<uint16_t>(0) +
                 Raw<uint16_t>(0) + Raw<uint16_t>(0) + Raw(0u) + Raw(zip64 ? 0xffffffffu : static_cast<uint32_t>(at)) + e.name + extra;
    }
    const uint64_t start = file.size(), count = entries.size() + extra_count;
    file += central;
    if (zip64) {
      const uint64_t end64 = file.size();
      file += Raw(0x06064b50u) + Raw<uint64_t>(44) + Raw<uint16_t>(20) + Raw<uint16_t>(20) + Raw(0u) + Raw(0u) + Raw(count) + Raw(count) +
              Raw<uint64_t>(central.size()) + Raw(start);
      file += Raw(0x07064b50u) + Raw(0u) + Raw(end64) + Raw(1u);
    }
    return file + Raw(0x06054b50u) + Raw<uint16_t>(0) + Raw<uint16_t>(0) + Raw(static_cast<uint16_t>(count)) +
           Raw(static_cast<uint16_t>(count)) + Raw(static_cast<uint32_t>(central.size())) + Raw(static_cast<uint32_t>(start)) +
           Raw(static_cast<uint16_t>(comment.size())) + comment;
  }
};

}  // namespace switchyard::testing_zip
