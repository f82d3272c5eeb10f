#include "engine/model/kv_pool.h"

#include <ATen/ATen.h>

namespace switchyard {

int64_t KvPool::BytesPerToken(const ModelConfig& config, at::ScalarType dtype) {
  return 2ll * config.num_layers * config.num_kv_heads * config.head_dim * static_cast<int64_t>(c10::elementSize(dtype));
}

StatusOr<KvPool> KvPool::Create(const ModelConfig& config, at::ScalarType dtype, int64_t slots) {
  KvPool pool;
  pool.slots_ = slots;
  pool.dtype_ = dtype;
  const std::vector<int64_t> shape = {slots, config.num_kv_heads, config.head_dim};
  try {
    for (int32_t layer = 0; layer < config.num_layers; ++layer) {
      pool.keys_.push_back(at::empty(shape, dtype));
      pool.values_.push_back(at::empty(shape, dtype));
    }
  } catch (const c10::Error& error) {
    return ResourceExhausted("KV pool of %d tokens (%d bytes): %s", slots, slots * BytesPerToken(config, dtype),
                             error.what_without_backtrace());
  }
  return pool;
}

}  // namespace switchyard
