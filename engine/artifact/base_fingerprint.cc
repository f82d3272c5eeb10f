// BaseFingerprint: the generation of a base model directory, with a best-effort cache beside it.

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/mapped_file.h"
#include "engine/artifact/router_artifact.h"
#include "engine/artifact/sha256.h"

namespace switchyard {
namespace {
namespace fs = std::filesystem;

// Changes whenever a file the fingerprint covers is replaced: sizes and modification times.
StatusOr<std::string> CacheKey(const std::string& directory, const std::vector<std::string>& files) {
  std::string key;
  for (const std::string& file : files) {
    std::error_code error;
    const auto size = fs::file_size(file, error);
    const auto time = fs::last_write_time(file, error).time_since_epoch().count();
    if (error) return DataLoss("%s: %s", file, error.message());
    key += fs::path(file).filename().string() + ":" + std::to_string(size) + ":" + std::to_string(time) + "\n";
  }
  return Sha256Hex(fs::path(directory).filename().string() + "\n" + key);
}

std::string Cached(const std::string& path, const std::string& key) {
  const auto text = ReadSmallFile(path, 4096);
  if (!text.ok()) return "";
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, false);
  if (!json.is_object() || json.value("key", nlohmann::json()) != key || !json.contains("fingerprint") || !json["fingerprint"].is_string())
    return "";
  const std::string fingerprint = json["fingerprint"].get<std::string>();
  return fingerprint.size() == 64 ? fingerprint : "";
}
}  // namespace

StatusOr<std::string> BaseFingerprint(const std::string& model_directory) {
  const std::string config_path = (fs::path(model_directory) / "config.json").string();
  ASSIGN_OR_RETURN(const std::string config, ReadSmallFile(config_path, 8 << 20));
  ASSIGN_OR_RETURN(const auto set, SafetensorsSet::OpenModelDirectory(model_directory));
  std::vector<std::string> files = set->files();
  files.push_back(config_path);
  ASSIGN_OR_RETURN(const std::string key, CacheKey(model_directory, files));
  const std::string cache_path = (fs::path(model_directory) / ".switchyard-fingerprint").string();
  if (std::string fingerprint = Cached(cache_path, key); !fingerprint.empty()) return fingerprint;

  Sha256 sha;
  sha.Update(config);
  for (const auto& [name, view] : set->tensors()) {
    sha.Update("\n" + name + " " + std::string(DTypeName(view.dtype)) + " " + ShapeString(view.shape) + "\n");
    sha.Update(view.data);
  }
  const std::string fingerprint = sha.Hex();
  // A directory we may not write to is served all the same; only the next start hashes again.
  WriteFileAtomically(cache_path, nlohmann::json{{"key", key}, {"fingerprint", fingerprint}}.dump() + "\n").IgnoreError();
  return fingerprint;
}

}  // namespace switchyard
