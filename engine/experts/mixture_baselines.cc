#include "engine/experts/mixture_baselines.h"

#include <ATen/ATen.h>

#include <cstring>
#include <vector>

namespace switchyard {

namespace {

at::Tensor Gather(kernels::ThreadPool& pool, const at::Tensor& from, std::span<const int64_t> rows) {
  const int64_t width = from.size(1);
  at::Tensor to = at::empty({static_cast<int64_t>(rows.size()), width}, at::kFloat);
  const float* source = from.const_data_ptr<float>();
  float* target = to.mutable_data_ptr<float>();
  pool.ParallelFor(to.size(0), 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::memcpy(target + i * width, source + rows[i] * width, static_cast<size_t>(width) * sizeof(float));
  });
  return to;
}

// y += scale B A x
void AddLora(kernels::ThreadPool& pool, const std::optional<ExpertLora>& lora, const at::Tensor& x, const at::Tensor& y) {
  if (!lora) return;
  at::Tensor z = at::empty({x.size(0), lora->rank()}, at::kFloat);
  float* values = z.mutable_data_ptr<float>();
  lora->Shrink(pool, x.const_data_ptr<float>(), x.size(0), x.size(1), values);
  for (int64_t i = 0; i < z.numel(); ++i) values[i] *= lora->scale();
  lora->Expand(pool, values, x.size(0), y.mutable_data_ptr<float>(), y.size(1), /*accumulate=*/true);
}

void SiluMul(kernels::ThreadPool& pool, const at::Tensor& gate, const at::Tensor& up) {
  kernels::SiluMul(pool, gate.const_data_ptr<float>(), up.const_data_ptr<float>(), gate.numel(), gate.mutable_data_ptr<float>());
}

void AddWeighted(kernels::ThreadPool& pool, const at::Tensor& from, const RowGroup& group, const at::Tensor& y) {
  const int64_t width = y.size(1);
  const float one = 1.0f;
  pool.ParallelFor(from.size(0), 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      kernels::LoraExpandAdd(&one, 1, from.const_data_ptr<float>() + i * width, width, group.weights[i],
                             y.mutable_data_ptr<float>() + group.rows[i] * width);
    }
  });
}

// The base block on the rows that need it, times what of each stays with the base; the others start at 0.
at::Tensor BasePart(const Compute& compute, const at::Tensor& x, const FeedForward& ffn, const RowGroups& groups) {
  std::vector<int64_t> rows;
  std::vector<float> shares;
  for (int64_t row = 0; row < x.size(0); ++row) {
    if (groups.base_share(row) == 0) continue;
    rows.push_back(row);
    shares.push_back(groups.base_share(row));
  }
  at::Tensor y = at::zeros({x.size(0), ffn.down.out_features()}, at::kFloat);
  if (rows.empty()) return y;
  const at::Tensor some = Gather(*compute.pool, x, rows);
  const at::Tensor gate = ffn.gate.Forward(some);
  SiluMul(*compute.pool, gate, ffn.up.Forward(some));
  RowGroup all;
  all.rows = rows;
  all.weights = shares;
  AddWeighted(*compute.pool, ffn.down.Forward(gate), all, y);
  return y;
}

}  // namespace

at::Tensor MixtureBaseline(const Compute& compute, const at::Tensor& x, const FeedForward& ffn, const RowGroups& groups,
                           MixtureAlgorithm algorithm) {
  kernels::ThreadPool& pool = *compute.pool;
  at::Tensor y = BasePart(compute, x, ffn, groups);
  at::Tensor shared_gate, shared_up;
  if (algorithm == MixtureAlgorithm::kMixLora && groups.assignments() > 0) {
    shared_gate = ffn.gate.Forward(x);
    shared_up = ffn.up.Forward(x);
  }
  for (const RowGroup& group : groups.all()) {
    const at::Tensor rows = Gather(pool, x, group.rows);
    const at::Tensor gate = shared_gate.defined() ? Gather(pool, shared_gate, group.rows) : ffn.gate.Forward(rows);
    const at::Tensor up = shared_up.defined() ? Gather(pool, shared_up, group.rows) : ffn.up.Forward(rows);
    AddLora(pool, group.expert->gate, rows, gate);
    AddLora(pool, group.expert->up, rows, up);
    SiluMul(pool, gate, up);
    const at::Tensor full = ffn.down.Forward(gate);
    AddLora(pool, group.expert->down, gate, full);
    AddWeighted(pool, full, group, y);
  }
  return y;
}

}  // namespace switchyard
