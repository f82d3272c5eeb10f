#include "trainer/nn/model.h"

#include <cmath>

namespace switchyard::trainer {

void Add(const PassResult& from, PassResult* to) {
  to->loss += from.loss;
  to->targets += from.targets;
  to->correct += from.correct;
  to->router_loss += from.router_loss;
  for (size_t i = 0; i < kNumLossParts; ++i) to->parts[i] += from.parts[i];
  to->rows += from.rows;
  const auto add = [](const std::vector<double>& values, std::vector<double>* sums) {
    sums->resize(std::max(sums->size(), values.size()));
    for (size_t i = 0; i < values.size(); ++i) (*sums)[i] += values[i];
  };
  add(from.expert_rows, &to->expert_rows);
  add(from.expert_weight, &to->expert_weight);
  add(from.entropy, &to->entropy);
}

Gates FixedGates(const RoutePlan& plan, int64_t rows, int32_t experts) {
  Gates gates{rows, experts, std::vector<float>(static_cast<size_t>(rows * experts)), false};
  for (size_t row = 0; row < plan.forced.size(); ++row) {
    if (plan.forced[row] != RoutePlan::kBase) gates.value[row * experts + plan.forced[row]] = 1.0f;
  }
  return gates;
}

void CountLoss(LossPart part, double value, PassResult* out) {
  out->router_loss += value;
  out->parts[part] += value;
}

void CountRoutes(int32_t layer, const RouterOutput& router, int32_t experts, PassResult* out) {
  if (router.loss.defined()) out->router_loss += router.loss.item<double>();
  for (size_t i = 0; i < kNumLossParts; ++i) out->parts[i] += router.parts[i];
  const LayerRoutes& routes = router.routes;
  for (int64_t i = 0; i < routes.rows * routes.k; ++i) {
    if (routes.experts[i] == LayerRoutes::kUnused) continue;
    out->expert_rows[layer * experts + routes.experts[i]] += 1;
    out->expert_weight[layer * experts + routes.experts[i]] += routes.weights[i];
  }
  for (const float entropy : routes.entropy) out->entropy[layer] += std::isnan(entropy) ? 0 : entropy;
}

}  // namespace switchyard::trainer
