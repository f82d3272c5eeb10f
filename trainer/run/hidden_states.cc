#include "trainer/run/hidden_states.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "trainer/data/batch_sampler.h"
#include "trainer/data/seeded_order.h"

namespace switchyard::trainer {

namespace {

// Every row goes where its label says, the unlabelled ones to the base.
class FixedRoutes final : public RouterModule {
 public:
  explicit FixedRoutes(int32_t experts) : RouterModule(RouterOptions{.kind = "fixed"}, /*layers=*/0, experts) {}
  std::vector<Parameter> LayerParameters(int32_t) const override { return {}; }
  std::vector<TensorView> Tensors(int32_t) const override { return {}; }
  StatusOr<RouterOutput> Forward(int32_t, const RouterInput& in, at::Generator*, const RowTargets& targets) const override {
    const std::vector<int32_t>& labels = targets.labels;
    RouterOutput out;
    out.gates = at::zeros({in.x.size(0), num_experts_}, at::kFloat);
    out.routes.Resize(in.x.size(0), 1);
    for (size_t row = 0; row < labels.size(); ++row) {
      if (labels[row] < 0) continue;
      out.gates.mutable_data_ptr<float>()[row * num_experts_ + labels[row]] = 1.0f;
      out.routes.experts[row] = static_cast<int16_t>(labels[row]);
      out.routes.weights[row] = 1.0f;
    }
    return out;
  }

 protected:
  at::Tensor Logits(int32_t, const RouterInput& in, at::Generator*) const override {
    return at::zeros({in.x.size(0), num_experts_}, at::kFloat);
  }
};

// The examples of each domain, shuffled.
std::vector<std::vector<int64_t>> ByDomain(const Dataset& data, uint64_t seed) {
  std::vector<std::vector<int64_t>> domains(data.domains.size());
  for (const int64_t example : SeededOrder(static_cast<int64_t>(data.examples.size()), seed, "hidden states")) {
    domains[data.examples[example].domain].push_back(example);
  }
  return domains;
}

// As many as give `rows` rows.
std::vector<int64_t> Enough(const std::vector<int64_t>& examples, const Dataset& data, int64_t rows, int64_t per_example) {
  std::vector<int64_t> some;
  for (size_t i = 0; i < examples.size() && rows > 0; ++i) {
    some.push_back(examples[i]);
    rows -= std::min<int64_t>(per_example, static_cast<int64_t>(data.examples[examples[i]].tokens.size()) - 1);
  }
  return some;
}

// One domain's rows, [L] of [n, H].
StatusOr<std::vector<at::Tensor>> RowsOf(TrainableModel& model, const RouterModule& routes, const Dataset& data,
                                         const std::vector<int64_t>& examples, int32_t expert, int64_t rows,
                                         const HiddenStateOptions& options) {
  std::vector<std::vector<at::Tensor>> layers;
  for (size_t begin = 0, end = 0; begin < examples.size(); begin = end) {
    int64_t tokens = 0;
    for (; end < examples.size() && (end == begin || tokens < options.tokens_per_pass); ++end) {
      tokens += static_cast<int64_t>(data.examples[examples[end]].tokens.size());
    }
    const PackedBatch batch = Pack(data, {examples.begin() + static_cast<int64_t>(begin), examples.begin() + static_cast<int64_t>(end)});
    RoutePlan plan;
    plan.router = &routes;
    plan.targets.labels.assign(batch.tokens.size(), expert);
    EvaluationDetail detail;
    RETURN_IF_ERROR(model.Evaluate(batch, plan, &detail).status());
    std::vector<int64_t> drawn;
    for (const PackedBatch::Segment& segment : batch.segments) {
      std::vector<int64_t> order = SeededOrder(segment.end - segment.begin, options.seed + static_cast<uint64_t>(segment.begin), "rows");
      order.resize(std::min<size_t>(order.size(), static_cast<size_t>(options.rows_per_example)));
      for (const int64_t row : order) drawn.push_back(segment.begin + row);
    }
    layers.resize(detail.router_inputs.size());
    const at::Tensor index = at::tensor(drawn, at::kLong);
    for (size_t l = 0; l < layers.size(); ++l) layers[l].push_back(detail.router_inputs[l].to(at::kFloat).index_select(0, index));
  }
  std::vector<at::Tensor> joined;
  for (const std::vector<at::Tensor>& parts : layers) joined.push_back(at::cat(parts).slice(0, 0, rows));
  return joined;
}

}  // namespace

StatusOr<HiddenStates> CollectHiddenStates(TrainableModel& model, int32_t experts, const Dataset& data,
                                           const std::vector<int32_t>& expert_of_domain, const HiddenStateOptions& options) {
  if (data.examples.empty()) return InvalidArgument("hidden states: the data holds no usable example");
  const FixedRoutes routes(experts);
  const std::vector<std::vector<int64_t>> domains = ByDomain(data, options.seed);
  const auto used = std::count_if(domains.begin(), domains.end(), [](const auto& examples) { return !examples.empty(); });
  const int64_t share = std::max<int64_t>(1, options.rows / used);
  std::vector<std::vector<at::Tensor>> found(domains.size());
  std::vector<std::pair<int64_t, int64_t>> turns;  // (row of its domain, domain)
  std::vector<int64_t> before(domains.size());
  int64_t total = 0;
  for (size_t d = 0; d < domains.size(); ++d) {
    before[d] = total;
    if (domains[d].empty()) continue;
    const std::vector<int64_t> examples = Enough(domains[d], data, share, options.rows_per_example);
    ASSIGN_OR_RETURN(found[d], RowsOf(model, routes, data, examples, expert_of_domain[d], share, options));
    for (int64_t row = 0; row < found[d][0].size(0); ++row) turns.emplace_back(row, static_cast<int64_t>(d));
    total += found[d][0].size(0);
  }
  std::sort(turns.begin(), turns.end());
  std::vector<int64_t> order;
  HiddenStates states;
  for (const auto& [row, domain] : turns) {
    order.push_back(before[domain] + row);
    states.domains.push_back(static_cast<int32_t>(domain));
  }
  const at::Tensor index = at::tensor(order, at::kLong);
  size_t layers = 0;
  for (const auto& domain : found) layers = std::max(layers, domain.size());
  for (size_t l = 0; l < layers; ++l) {
    std::vector<at::Tensor> parts;
    for (const auto& domain : found) {
      if (!domain.empty()) parts.push_back(domain[l]);
    }
    states.layers.push_back(at::cat(parts).index_select(0, index));
  }
  return states;
}

}  // namespace switchyard::trainer
