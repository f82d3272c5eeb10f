// The mixture as methods.md states it, in plain ATen: the oracle of mixture_fast.cc.
#include <ATen/ATen.h>

#include "engine/experts/mixture.h"
#include "engine/experts/row_groups.h"

namespace switchyard {

namespace {

at::Tensor Add(const at::Tensor& base, const std::optional<ExpertLora>& lora, const at::Tensor& x) {
  return lora ? (base.to(at::kFloat) + lora->Delta(x)).to(base.scalar_type()) : base;
}

// A whole feed-forward block with one expert's adapters; none: the base block.
at::Tensor Block(const at::Tensor& x, const FeedForward& ffn, const ExpertLayer& expert) {
  const at::Tensor gate = Add(ffn.gate.Forward(x), expert.gate, x);
  const at::Tensor up = Add(ffn.up.Forward(x), expert.up, x);
  const at::Tensor h = at::silu(gate) * up;
  return Add(ffn.down.Forward(h), expert.down, h);
}

}  // namespace

at::Tensor MixtureReference(const at::Tensor& x, const FeedForward& ffn, const ExpertBank& bank, int32_t layer, const LayerRoutes& routes) {
  const at::Tensor base = Block(x, ffn, ExpertLayer{});
  const RowGroups groups(bank, layer, routes);
  if (groups.all().empty()) return base;
  at::Tensor y = base.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  for (const RowGroup& group : groups.all()) {
    const at::Tensor rows = at::from_blob(const_cast<int64_t*>(group.rows.data()), {static_cast<int64_t>(group.rows.size())}, at::kLong);
    const at::Tensor weights = at::from_blob(const_cast<float*>(group.weights.data()), {rows.size(0), 1}, at::kFloat);
    const at::Tensor full = Block(x.index_select(0, rows), ffn, *group.expert).to(at::kFloat);
    y.index_add_(0, rows, weights * (full - base.index_select(0, rows).to(at::kFloat)));
  }
  return y.to(x.scalar_type());
}

}  // namespace switchyard
