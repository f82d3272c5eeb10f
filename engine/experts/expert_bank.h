// The LoRA experts of one base, resident: per layer, in router order, the zero expert as an empty entry.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/artifact/peft_adapter.h"
#include "engine/base/status.h"
#include "engine/tensor/compute.h"

namespace switchyard {

// delta = scale * B A. Kept in f32 whatever the base's dtype (they are small): `a` [rank, in], `b` [out, rank], `b_t` [rank, out] for the kernels.
struct ExpertLora {
  at::Tensor a, b, b_t;
  float scale = 0;
  int64_t rank() const { return a.size(0); }
};

struct ExpertLayer {
  std::optional<ExpertLora> gate, up, down;
  bool empty() const { return !gate && !up && !down; }
};

// Immutable, so that snapshots may share it.
struct Expert {
  std::string name;
  std::string generation;                // "zero" for the zero expert
  bool is_zero = false;
  int32_t max_rank = 0;
  int64_t bytes = 0;
  std::vector<ExpertLayer> layers;       // [L]; all empty for the zero expert
};

std::shared_ptr<const Expert> ZeroExpert(const std::string& name, int32_t num_layers);
StatusOr<std::shared_ptr<const Expert>> LoadExpert(const std::string& name, const PeftAdapter& adapter);

using ExpertBank = std::vector<std::shared_ptr<const Expert>>;   // by ExpertIndex

}  // namespace switchyard
