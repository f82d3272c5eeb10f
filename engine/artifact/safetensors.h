// Reading and writing safetensors. The file is mapped read-only; tensors borrow from the mapping.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"

namespace switchyard {

// One file. Immutable after Open; thread-safe. Enforces every rule of the reference reader: header <= 100 MB and inside the file, no
// duplicate keys, offsets contiguous from 0 to the end of the file, sizes equal to shape x dtype with overflow checks.
class SafetensorsFile {
 public:
  // DATA_LOSS for a broken file, NOT_FOUND when it is absent, UNIMPLEMENTED for a dtype outside DType.
  static StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::string& path);
  // The same checks over bytes in memory (fuzzing, tests); `name` stands for the path in messages.
  static StatusOr<std::shared_ptr<const SafetensorsFile>> Parse(std::shared_ptr<const std::string> bytes, const std::string& name);

  // Tensors that are in memory already, under the same face: what is about to be written. REQUIRES: unique names.
  static std::shared_ptr<const SafetensorsFile> Of(const std::vector<TensorView>& tensors);

  const std::string& path() const { return path_; }
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // NOT_FOUND names the file and the tensor.
  StatusOr<TensorView> Get(const std::string& name) const;

 private:
  friend class SafetensorsParser;
  std::string path_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Tensors of a directory: `model.safetensors`, or `model.safetensors.index.json` with its shards (plain basenames inside the directory,
// every tensor in the shard the map says and in no other).
class SafetensorsSet {
 public:
  static StatusOr<std::shared_ptr<const SafetensorsSet>> OpenModelDirectory(const std::string& directory);
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  StatusOr<TensorView> Get(const std::string& name) const;
  // The path of the file the tensor lies in; the directory for a name that is in none.
  const std::string& FileOf(const std::string& name) const;
  const std::vector<std::string>& files() const { return files_; }  // paths, in name order

 private:
  std::string directory_;
  std::vector<std::string> files_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, size_t> file_of_;  // tensor -> index into files_
};

// The weight_map of a model.safetensors.index.json: the file of each tensor, a plain name inside the directory. `index` stands for the path
// in messages. DATA_LOSS when it is something else.
StatusOr<std::map<std::string, std::string>> ParseShardIndex(std::string_view text, const std::string& index);

// Writes to a temporary file beside `path`, syncs and renames. Tensors are ordered by dtype (descending alignment), then name, as the
// reference writer does.
Status WriteSafetensors(const std::string& path, const std::vector<TensorView>& tensors,
                        const std::map<std::string, std::string>& metadata);

}  // namespace switchyard
