#include "engine/routing/selection.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace switchyard {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kUnroutable = -1.0f;  // below every probability

float RoundToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}

Status CheckArguments(std::span<const float> logits, const SelectionRule& rule, const std::vector<bool>& masked, int64_t row,
                      const LayerRoutes& routes, std::span<const float> bias, std::span<const float> floor) {
  if (logits.empty() || logits.size() > static_cast<size_t>(std::numeric_limits<int16_t>::max())) {
    return Internal("routing: %d logits, expected 1 to %d", logits.size(), std::numeric_limits<int16_t>::max());
  }
  if (!masked.empty() && masked.size() != logits.size())
    return Internal("routing: mask of %d experts for %d logits", masked.size(), logits.size());
  if (!bias.empty() && bias.size() != logits.size())
    return Internal("routing: bias of %d experts for %d logits", bias.size(), logits.size());
  if (!floor.empty() && floor.size() != logits.size())
    return Internal("routing: floor of %d experts for %d logits", floor.size(), logits.size());
  if (row < 0 || row >= routes.rows || rule.top_k > routes.k) {
    return Internal("routing: row %d with %d slots, expected a row below %d and at most %d slots", row, rule.top_k, routes.rows, routes.k);
  }
  for (size_t e = 0; e < logits.size(); ++e) {
    if (std::isnan(logits[e]) || logits[e] == kInfinity) return Internal("routing: the logit of expert %d is %f", e, logits[e]);
  }
  return OkStatus();
}

// Softmax over the routable experts into p, the others kUnroutable. Returns the entropy, NaN when nothing is routable.
float Softmax(std::span<const float> logits, const std::vector<bool>& masked, std::vector<float>* p) {
  const auto routable = [&](size_t e) { return logits[e] != -kInfinity && (masked.empty() || !masked[e]); };
  float max = -kInfinity;
  for (size_t e = 0; e < logits.size(); ++e) {
    if (routable(e)) max = std::max(max, logits[e]);
  }
  float sum = 0;
  p->assign(logits.size(), kUnroutable);
  for (size_t e = 0; e < logits.size(); ++e) {
    if (!routable(e)) continue;
    (*p)[e] = std::exp(logits[e] - max);
    sum += (*p)[e];
  }
  if (sum == 0) return std::numeric_limits<float>::quiet_NaN();
  // -sum p ln p = ln sum - sum p (logit - max), which has no logarithm of an underflowed p.
  float mean = 0;
  for (size_t e = 0; e < logits.size(); ++e) {
    if ((*p)[e] == kUnroutable) continue;
    (*p)[e] /= sum;
    if ((*p)[e] > 0) mean += (*p)[e] * (logits[e] - max);
  }
  return std::max(0.0f, std::log(sum) - mean);
}

void SetWeights(WeightMode mode, std::span<float> selected) {
  float sum = 0;
  for (const float p : selected) sum += p;
  for (float& weight : selected) {
    if (mode == WeightMode::kRenorm) weight /= sum;
    if (mode == WeightMode::kOne) weight = 1.0f / static_cast<float>(selected.size());
  }
}

}  // namespace

StatusOr<WeightMode> ParseWeightMode(std::string_view name) {
  if (name == "renorm") return WeightMode::kRenorm;
  if (name == "raw") return WeightMode::kRaw;
  if (name == "one") return WeightMode::kOne;
  if (name == "sigmoid") return WeightMode::kSigmoid;
  return InvalidArgument("weight_mode: expected \"renorm\", \"raw\", \"one\" or \"sigmoid\", found \"%s\"", name.substr(0, 40));
}

Status SelectRow(std::span<const float> logits, const SelectionRule& rule, const std::vector<bool>& masked, int64_t row,
                 LayerRoutes* routes, std::span<const float> bias, std::span<const float> floor) {
  RETURN_IF_ERROR(CheckArguments(logits, rule, masked, row, *routes, bias, floor));
  thread_local std::vector<float> p, score;
  routes->entropy[row] = Softmax(logits, masked, &p);
  if (rule.round_probabilities_bf16) std::transform(p.begin(), p.end(), p.begin(), RoundToBf16);
  score.assign(p.begin(), p.end());
  float decided_by = kInfinity;  // distance of the nearest p from its floor
  for (size_t e = 0; e < score.size(); ++e) {
    if (p[e] != kUnroutable && !floor.empty()) decided_by = std::min(decided_by, std::fabs(p[e] - floor[e]));
    if (p[e] == kUnroutable || (!floor.empty() && p[e] < floor[e])) {
      score[e] = -kInfinity;
    } else if (!bias.empty()) {
      score[e] += bias[e];
    }
  }

  int16_t* experts = routes->experts.data() + row * routes->k;
  float* weights = routes->weights.data() + row * routes->k;
  std::fill_n(experts, routes->k, LayerRoutes::kUnused);
  std::fill_n(weights, routes->k, 0.0f);
  routes->margin[row] = kInfinity;
  // max_element gives the first of equals, that is the lowest index.
  int32_t selected = 0;
  float last = 0;
  auto best = std::max_element(score.begin(), score.end());
  for (; selected < rule.top_k && *best != -kInfinity; ++selected) {
    const auto expert = best - score.begin();
    experts[selected] = static_cast<int16_t>(expert);
    weights[selected] = rule.weight_mode == WeightMode::kSigmoid ? 1.0f / (1.0f + std::exp(-logits[expert])) : p[expert];
    last = *best;
    *best = -kInfinity;
    best = std::max_element(score.begin(), score.end());
  }
  if (selected > 0 && *best != -kInfinity) routes->margin[row] = last - *best;
  routes->margin[row] = std::min(routes->margin[row], decided_by);
  SetWeights(rule.weight_mode, {weights, static_cast<size_t>(selected)});
  return OkStatus();
}

}  // namespace switchyard
