// Reading what torch.save writes for a state dict (`pytorch_model.bin`): a zip archive of a pickle and the storages it names. Nothing in
// the file is executed: the pickle is read by a small machine that knows the opcodes and the handful of globals a state dict consists of,
// and refuses the rest by name.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"

namespace switchyard {

// One file, mapped read-only. Immutable after Open; thread-safe. Tensors borrow from the mapping; only views that are not row-major
// (transposed, expanded) are copied, together at most the file's own size. Names of one storage, offset and shape share their bytes, so
// `data.data()` tells which tensors are the same.
class TorchPickleFile {
 public:
  // NOT_FOUND when absent; DATA_LOSS for a broken file, with the byte of the pickle; UNIMPLEMENTED, by name, for what a state dict does not
  // hold: other opcodes and globals, nested dicts, compressed archives (TorchScript), big-endian files, and the format before PyTorch 1.6
  // (no zip).
  static StatusOr<std::shared_ptr<const TorchPickleFile>> Open(const std::string& path);
  // The same checks over bytes in memory; `name` stands for the path in messages.
  static StatusOr<std::shared_ptr<const TorchPickleFile>> Parse(std::shared_ptr<const std::string> bytes, const std::string& name);

  const std::string& path() const { return path_; }
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  // NOT_FOUND names the file and the tensor.
  StatusOr<TensorView> Get(const std::string& name) const;

 private:
  friend class TorchPickleParser;
  std::string path_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace switchyard
