// Keys and values of every token held, by slot. The runtime owns the accounting of slots; this is only the memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "engine/artifact/model_config.h"
#include "engine/base/status.h"

namespace switchyard {

// Owned by the runner. Used only on the engine thread. Memory is reserved at once and touched slot by slot as tokens arrive.
class KvPool {
 public:
  static int64_t BytesPerToken(const ModelConfig& config, at::ScalarType dtype);
  // RESOURCE_EXHAUSTED when the memory cannot be had.
  static StatusOr<KvPool> Create(const ModelConfig& config, at::ScalarType dtype, int64_t slots);

  const at::Tensor& keys(int32_t layer) const { return keys_[layer]; }      // [slots, kv_heads, head_dim]
  const at::Tensor& values(int32_t layer) const { return values_[layer]; }  // [slots, kv_heads, head_dim]
  int64_t slots() const { return slots_; }
  at::ScalarType dtype() const { return dtype_; }

 private:
  KvPool() = default;
  int64_t slots_ = 0;
  at::ScalarType dtype_ = at::kFloat;
  std::vector<at::Tensor> keys_, values_;
};

}  // namespace switchyard
