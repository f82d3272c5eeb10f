// Reads a router's parameters by name and expected shape, and counts them, so that a tensor no method asked for is noticed. Private to
// this room.
#pragma once

#include <ATen/core/Tensor.h>

#include <set>
#include <string>
#include <vector>

#include "engine/artifact/router_artifact.h"
#include "engine/base/status.h"

namespace switchyard {

class RouterTensors {
 public:
  explicit RouterTensors(const RouterArtifact& artifact) : artifact_(artifact) {}

  // `layers.{layer}.router.{name}`; an extent of -1 in `shape` takes any size from 1. INVALID_ARGUMENT names tensor, expected and found
  // shape, NOT_FOUND an absent tensor, DATA_LOSS a value that is NaN or infinite.
  StatusOr<at::Tensor> Get(int32_t layer, const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype);
  // The same of an I32 tensor.
  StatusOr<at::Tensor> GetIntegers(int32_t layer, const std::string& name, const std::vector<int64_t>& shape);
  bool Has(int32_t layer, const std::string& name) const;
  bool IsBf16(int32_t layer, const std::string& name) const;  // false when absent
  // INVALID_ARGUMENT names the first `layers.*` tensor that no Get asked for: a router of another kind or of more layers.
  Status CheckAllRead() const;

 private:
  // With the shape asked for; marks it as read.
  StatusOr<TensorView> Find(const std::string& full, const std::vector<int64_t>& shape);

  const RouterArtifact& artifact_;
  std::set<std::string> read_;
};

}  // namespace switchyard
