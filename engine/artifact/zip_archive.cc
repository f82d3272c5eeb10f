#include "engine/artifact/zip_archive.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace switchyard {
namespace {
using Bytes = std::span<const std::byte>;

static_assert(std::endian::native == std::endian::little, "zip fields are read as they lie");
constexpr uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50;
constexpr uint32_t kCentralSignature = 0x02014b50, kLocalSignature = 0x04034b50;
constexpr size_t kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20, kCentralBytes = 46, kLocalBytes = 30;
constexpr uint16_t kEncrypted = 1 << 0 | 1 << 6 | 1 << 13;

// REQUIRES: at + sizeof(T) lies inside.
template <typename T>
T Get(Bytes bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

// Whether `length` bytes at `at` lie inside `size`.
bool Inside(uint64_t at, uint64_t length, uint64_t size) { return at <= size && length <= size - at; }

struct Directory {
  uint64_t entries = 0, size = 0, offset = 0;
};

struct Entry {
  std::string name;
  uint16_t flags = 0, method = 0;
  uint64_t packed = 0, size = 0, local = 0;
};

std::string Quoted(const std::string& name) { return "entry \"" + name.substr(0, 100) + "\""; }

class Reader {
 public:
  Reader(Bytes bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  StatusOr<std::map<std::string, Bytes>> Read() {
    ASSIGN_OR_RETURN(const Directory directory, FindDirectory());
    if (!Inside(directory.offset, directory.size, bytes_.size())) return DataLoss("%s: the zip directory lies outside the file", path_);
    const Bytes central = bytes_.subspan(directory.offset, directory.size);
    std::map<std::string, Bytes> entries;
    size_t at = 0;
    for (uint64_t i = 0; i < directory.entries; ++i) {
      ASSIGN_OR_RETURN(const Entry entry, ReadEntry(central, &at));
      ASSIGN_OR_RETURN(const Bytes data, Locate(entry, directory.offset));
      if (!entries.emplace(entry.name, data).second) return DataLoss("%s: %s is listed twice", path_, Quoted(entry.name));
    }
    if (at != central.size())
      return DataLoss("%s: the zip directory has %d bytes, its %d entries take %d", path_, central.size(), directory.entries, at);
    RETURN_IF_ERROR(CheckDisjoint(entries));
    return entries;
  }

 private:
  StatusOr<Directory> FindDirectory() const {
    if (bytes_.size() < kEndBytes) return DataLoss("%s: not a zip archive", path_);
    const size_t last = bytes_.size() - kEndBytes, first = last > 65535 ? last - 65535 : 0;
    for (size_t at = last + 1; at-- > first;) {
      if (Get<uint32_t>(bytes_, at) != kEndSignature || at + kEndBytes + Get<uint16_t>(bytes_, at + 20) != bytes_.size()) continue;
      return ReadEnd(at);
    }
    return DataLoss("%s: no zip directory at the end; not a zip archive, or cut short", path_);
  }

  StatusOr<Directory> ReadEnd(size_t at) const {
    Directory d{Get<uint16_t>(bytes_, at + 10), Get<uint32_t>(bytes_, at + 12), Get<uint32_t>(bytes_, at + 16)};
    const bool zip64 = at >= kLocator64Bytes && Get<uint32_t>(bytes_, at - kLocator64Bytes) == kLocator64Signature;
    if (zip64) {
      const auto end64 = Get<uint64_t>(bytes_, at - kLocator64Bytes + 8);
      if (!Inside(end64, kEnd64Bytes, at) || Get<uint32_t>(bytes_, end64) != kEnd64Signature)
        return DataLoss("%s: the zip64 directory's end is broken", path_);
      if (Get<uint32_t>(bytes_, end64 + 16) != 0 || Get<uint32_t>(bytes_, end64 + 20) != 0)
        return Unimplemented("%s: a zip archive over several disks", path_);
      return Directory{Get<uint64_t>(bytes_, end64 + 32), Get<uint64_t>(bytes_, end64 + 40), Get<uint64_t>(bytes_, end64 + 48)};
    }
    if (Get<uint16_t>(bytes_, at + 4) != 0 || Get<uint16_t>(bytes_, at + 6) != 0)
      return Unimplemented("%s: a zip archive over several disks", path_);
    return d;
  }

  StatusOr<Entry> ReadEntry(Bytes central, size_t* at) const {
    if (!Inside(*at, kCentralBytes, central.size()) || Get<uint32_t>(central, *at) != kCentralSignature) {
      return DataLoss("%s: the zip directory is broken at byte %d of it", path_, *at);
    }
    const Bytes fixed = central.subspan(*at, kCentralBytes);
    const uint64_t name = Get<uint16_t>(fixed, 28), extra = Get<uint16_t>(fixed, 30), comment = Get<uint16_t>(fixed, 32);
    if (!Inside(*at + kCentralBytes, name + extra + comment, central.size()))
      return DataLoss("%s: the zip directory is broken at byte %d of it", path_, *at);
    Entry entry;
    entry.name.assign(reinterpret_cast<const char*>(central.data()) + *at + kCentralBytes, name);
    entry.flags = Get<uint16_t>(fixed, 8);
    entry.method = Get<uint16_t>(fixed, 10);
    entry.packed = Get<uint32_t>(fixed, 20);
    entry.size = Get<uint32_t>(fixed, 24);
    entry.local = Get<uint32_t>(fixed, 42);
    RETURN_IF_ERROR(ReadZip64(central.subspan(*at + kCentralBytes + name, extra), &entry));
    *at += kCentralBytes + name + extra + comment;
    return entry;
  }

  // Fields that do not fit 32 bits follow, in this order, in the extra field of kind 1.
  Status ReadZip64(Bytes extra, Entry* entry) const {
    std::vector<uint64_t*> wide;
    for (uint64_t* field : {&entry->size, &entry->packed, &entry->local}) {
      if (*field == 0xffffffffu) wide.push_back(field);
    }
    while (!wide.empty() && extra.size() >= 4) {
      const auto kind = Get<uint16_t>(extra, 0), length = Get<uint16_t>(extra, 2);
      if (length > extra.size() - 4) break;
      if (kind == 1) {
        if (length < wide.size() * 8) break;
        for (size_t i = 0; i < wide.size(); ++i) *wide[i] = Get<uint64_t>(extra, 4 + i * 8);
        return OkStatus();
      }
      extra = extra.subspan(4 + length);
    }
    return wide.empty() ? OkStatus() : DataLoss("%s: %s: the zip64 field is missing or broken", path_, Quoted(entry->name));
  }

  // The entry's bytes. Its local header must say the same name; sizes count as the directory gives them.
  StatusOr<Bytes> Locate(const Entry& entry, uint64_t directory) const {
    if ((entry.flags & kEncrypted) != 0) return Unimplemented("%s: %s is encrypted", path_, Quoted(entry.name));
    if (entry.method != 0)
      return Unimplemented("%s: %s is compressed (method %d), expected stored entries", path_, Quoted(entry.name), entry.method);
    if (entry.packed != entry.size)
      return DataLoss("%s: %s is stored with two different sizes, %d and %d", path_, Quoted(entry.name), entry.packed, entry.size);
    if (!Inside(entry.local, kLocalBytes, directory) || Get<uint32_t>(bytes_, entry.local) != kLocalSignature) {
      return DataLoss("%s: %s: no header at byte %d", path_, Quoted(entry.name), entry.local);
    }
    const uint64_t name = Get<uint16_t>(bytes_, entry.local + 26), extra = Get<uint16_t>(bytes_, entry.local + 28);
    const uint64_t start = entry.local + kLocalBytes + name + extra;
    if (!Inside(start, entry.size, directory))
      return DataLoss("%s: %s: its %d bytes lie outside the file", path_, Quoted(entry.name), entry.size);
    const std::string_view local_name(reinterpret_cast<const char*>(bytes_.data()) + entry.local + kLocalBytes, name);
    if (local_name != entry.name) return DataLoss("%s: %s has another name at byte %d", path_, Quoted(entry.name), entry.local);
    return bytes_.subspan(start, entry.size);
  }

  Status CheckDisjoint(const std::map<std::string, Bytes>& entries) const {
    std::vector<std::pair<const std::byte*, const std::string*>> order;
    for (const auto& [name, data] : entries) {
      if (!data.empty()) order.emplace_back(data.data(), &name);
    }
    std::sort(order.begin(), order.end());
    for (size_t i = 1; i < order.size(); ++i) {
      const Bytes before = entries.at(*order[i - 1].second);
      if (before.data() + before.size() > order[i].first) {
        return DataLoss("%s: %s and %s share bytes", path_, Quoted(*order[i - 1].second), Quoted(*order[i].second));
      }
    }
    return OkStatus();
  }

  const Bytes bytes_;
  const std::string& path_;
};
}  // namespace

StatusOr<std::map<std::string, std::span<const std::byte>>> ReadZipDirectory(std::span<const std::byte> bytes, const std::string& name) {
  return Reader(bytes, name).Read();
}

}  // namespace switchyard
