// From logits to a route: mask, softmax in fp32, top-k with ties to the lowest index, weights. Torch-free.
//
//   p = softmax over the unmasked logits (a logit of -inf counts as masked)
//   selected: the k largest p, or with a bias the k largest p + bias (Loss-Free Balancing: it decides who is chosen and never a weight),
//     among those experts whose p is not below their floor (Expert Choice's thresholds), if there are floors; k clamped to the routable
//     experts, equal ones go to the lowest index
//   weights: renorm p_i / sum of the selected p; raw p_i; one 1 / number selected; sigmoid 1 / (1 + exp(-logit_i))
//   margin: p (+ bias) of the last selected minus that of the best refused expert; +inf when nothing routable was refused;
//     with floors at most the least distance of a p from its floor
//   entropy: -sum p ln p over the routable experts, in nats, before any rounding to bf16
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/routing/layer_routes.h"

namespace switchyard {

enum class WeightMode { kRenorm, kRaw, kOne, kSigmoid };
StatusOr<WeightMode> ParseWeightMode(std::string_view name);  // "renorm" | "raw" | "one" | "sigmoid"

struct SelectionRule {
  int32_t top_k = 1;
  WeightMode weight_mode = WeightMode::kRenorm;
  bool round_probabilities_bf16 = false;  // Dense2MoE compatibility: p is rounded to bf16 before top-k, so ties are common
};

// Writes all slots of row `row` of `routes` (routes->k >= rule.top_k, row < routes->rows; else INTERNAL). `masked`, `bias`
// and `floor` are empty or [E]. No expert that may be chosen: no expert, the base speaks, margin +inf, entropy NaN when none was routable.
// INTERNAL when a logit is NaN or +inf, masked or not. Thread-safe; no allocation once a thread has seen its largest E.
Status SelectRow(std::span<const float> logits, const SelectionRule& rule, const std::vector<bool>& masked, int64_t row,
                 LayerRoutes* routes, std::span<const float> bias = {}, std::span<const float> floor = {});

}  // namespace switchyard
