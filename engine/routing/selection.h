// From logits to a route: mask, softmax in fp32, top-k with ties to the lowest index, weights. Torch-free; methods.md-style formulas in the .cc.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/routing/layer_routes.h"

namespace switchyard {

enum class WeightMode { kRenorm, kRaw, kOne };
StatusOr<WeightMode> ParseWeightMode(std::string_view name);   // "renorm" | "raw" | "one"

struct SelectionRule {
  int32_t top_k = 1;
  WeightMode weight_mode = WeightMode::kRenorm;
  bool round_probabilities_bf16 = false;   // Dense2MoE compatibility: p is rounded to bf16 before top-k
};

// Writes row `row` of `routes` (routes->k >= rule.top_k). `masked` is empty or [E]. All masked: no expert, the base speaks.
// INTERNAL when a logit is NaN.
Status SelectRow(std::span<const float> logits, const SelectionRule& rule, const std::vector<bool>& masked, int64_t row, LayerRoutes* routes);

}  // namespace switchyard
