#include "trainer/nn/expert_tiles.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "trainer/nn/loops.h"

namespace switchyard::trainer {

namespace {

constexpr int64_t kTile = 12;  // rows: two of the kernels' blocks, and the tiles stay in the second-level cache

template <typename Work>
void ForTiles(kernels::ThreadPool& pool, int64_t rows, const Work& work) {
  pool.ParallelFor((rows + kTile - 1) / kTile, 1, [&](int64_t first, int64_t last) {
    for (int64_t begin = first * kTile; begin < std::min(last * kTile, rows); begin += kTile) work(begin, std::min(begin + kTile, rows));
  });
}

kernels::WeightType TypeOf(const TrainCompute& compute) {
  return compute.dtype == at::kBFloat16 ? kernels::WeightType::kBF16 : kernels::WeightType::kF32;
}

// Rows of a tile as products read them, and the few floats of their low-rank products. One a call of a tile.
class Scratch {
 public:
  Scratch(const TrainCompute& compute, int64_t width, int64_t rank)
      : compute_(compute),
        packed_(at::empty({kTile * kernels::PackedRowBytes(TypeOf(compute), std::max(width, rank))}, at::kByte)),
        low_rank(static_cast<size_t>(kTile * rank)) {}

  const void* Pack(const float* x, int64_t rows, int64_t width) {
    kernels::PackRows(*compute_.pool, x, rows, width, width, TypeOf(compute_), packed_.mutable_data_ptr());
    return packed_.const_data_ptr();
  }

 private:
  const TrainCompute& compute_;
  at::Tensor packed_;

 public:
  std::vector<float> low_rank;  // [kTile, rank]
};

int64_t LargestRank(const LoraBlock& lora) {
  int64_t rank = 0;
  for (const auto* matrix : {&lora.gate, &lora.up, &lora.down}) rank = matrix->has_value() ? std::max(rank, (*matrix)->rank()) : rank;
  return rank;
}

void GatherTile(const float* from, const int64_t* rows, int64_t count, int64_t width, float* to) {
  for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * width, from + rows[i] * width, static_cast<size_t>(width) * sizeof(float));
}

}  // namespace

PackedRows ExpertTiles::Forward(std::span<const float> weights, float* h) const {
  std::optional<PackedRows> zg, zu;
  if (lora.gate) zg.emplace(lora.gate->PackShrunk(x));
  if (lora.up) zu.emplace(lora.up->PackShrunk(x));
  const int64_t rank = lora.down ? lora.down->rank() : 0;
  at::Tensor z = at::empty({x.rows(), rank}, at::kFloat);
  float* all_z = z.mutable_data_ptr<float>();
  ForTiles(*compute.pool, x.rows(), [&](int64_t begin, int64_t end) {
    const int64_t count = end - begin, size = kTile * width;
    at::Tensor tiles = at::empty({3 * size}, at::kFloat);
    float *g = tiles.mutable_data_ptr<float>(), *u = g + size, *own = u + size;
    GatherTile(gate, &rows[begin], count, width, g);
    GatherTile(up, &rows[begin], count, width, u);
    if (zg) lora.gate->AddDelta(zg->at(begin), count, g, nullptr);
    if (zu) lora.up->AddDelta(zu->at(begin), count, u, nullptr);
    loops::SwiGlu(g, u, count * width, own);
    for (int64_t i = 0; i < count; ++i) loops::Axpy(weights[begin + i], own + i * width, width, h + rows[begin + i] * width);
    if (!lora.down) return;
    Scratch scratch(compute, width, rank);
    lora.down->ShrinkTile(scratch.Pack(own, count, width), count, all_z + begin * rank);
    for (int64_t i = begin; i < end; ++i) loops::Scale(weights[i] * lora.down->scale(), rank, all_z + i * rank);
  });
  return PackedRows(compute, all_z, x.rows(), rank);
}

void AddDownTiles(kernels::ThreadPool& pool, const LoraMatrix& down, const PackedRows& z, std::span<const int64_t> rows, float* y) {
  ForTiles(pool, z.rows(), [&](int64_t begin, int64_t end) { down.AddDelta(z.at(begin), end - begin, y, &rows[begin]); });
}

void ExpertTiles::Backward(const Back& back) const {
  std::optional<PackedRows> zg, zu, e_down;
  if (lora.gate) zg.emplace(lora.gate->PackShrunk(x));
  if (lora.up) zu.emplace(lora.up->PackShrunk(x));
  if (lora.down) e_down.emplace(lora.down->PackShrunkBack(back.dy));
  const int64_t rank = LargestRank(lora);
  ForTiles(*compute.pool, x.rows(), [&](int64_t begin, int64_t end) {
    const int64_t count = end - begin, size = kTile * width;
    at::Tensor tiles = at::empty({3 * size}, at::kFloat);
    float *g = tiles.mutable_data_ptr<float>(), *u = g + size, *d = u + size;
    GatherTile(gate, &rows[begin], count, width, g);
    GatherTile(up, &rows[begin], count, width, u);
    GatherTile(back.d, &rows[begin], count, width, d);
    if (zg) lora.gate->AddDelta(zg->at(begin), count, g, nullptr);
    if (zu) lora.up->AddDelta(zu->at(begin), count, u, nullptr);
    if (e_down) lora.down->AddDeltaBack(e_down->at(begin), count, d, nullptr);
    if (back.dots != nullptr) {
      for (int64_t i = 0; i < count; ++i) back.dots[begin + i] = loops::SwiGluDot(g + i * width, u + i * width, d + i * width, width);
    }
    if (back.weights.empty()) return;
    // The rows that took the expert, moved together; their gradients take the place of gate and up.
    int64_t chosen[kTile], taken = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float weight = back.weights[begin + i];
      if (weight == 0) continue;
      const int64_t from = i * width, to = taken * width, row = rows[begin + i] * width;
      loops::SwiGluBackward(g + from, u + from, d + from, weight, width, /*accumulate=*/false, g + to, u + to);
      loops::Axpy(1.0f, g + to, width, back.dgate + row);
      loops::Axpy(1.0f, u + to, width, back.dup + row);
      chosen[taken++] = rows[begin + i];
    }
    if (taken == 0) return;
    Scratch scratch(compute, width, rank);
    const auto through = [&](const std::optional<LoraMatrix>& matrix, const float* gradient) {
      if (!matrix) return;
      float* e = scratch.low_rank.data();
      matrix->ShrinkBackTile(scratch.Pack(gradient, taken, width), taken, e);
      matrix->AddDeltaBack(scratch.Pack(e, taken, matrix->rank()), taken, back.dx, chosen);
    };
    through(lora.gate, g);
    through(lora.up, u);
  });
}

}  // namespace switchyard::trainer
