#include "trainer/nn/expert_tiles.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "engine/kernels/aligned_buffer.h"
#include "engine/kernels/expert_backward.h"
#include "trainer/nn/loops.h"

namespace switchyard::trainer {

namespace {

constexpr int64_t kTile = 12;  // rows: what a tile leaves for the low-rank products stays in the second-level cache

template <typename Work>
void ForTiles(kernels::ThreadPool& pool, int64_t rows, const Work& work) {
  pool.ParallelFor((rows + kTile - 1) / kTile, 1, [&](int64_t first, int64_t last) {
    for (int64_t begin = first * kTile; begin < std::min(last * kTile, rows); begin += kTile) work(begin, std::min(begin + kTile, rows));
  });
}

// A thread's memory for one tile.
struct Scratch {
  kernels::AlignedBuffer gate, up, low_rank, packed;

  static void* Rows(kernels::AlignedBuffer& buffer, kernels::WeightType type, int64_t width) {
    return buffer.Resize(static_cast<size_t>(kTile * kernels::PackedRowBytes(type, width)));
  }
  float* LowRank(int64_t rank) { return static_cast<float*>(low_rank.Resize(static_cast<size_t>(kTile * rank) * sizeof(float))); }
};

Scratch& OfThisThread() {
  thread_local Scratch scratch;
  return scratch;
}

int64_t RowBytes(const LoraBlock& lora, kernels::WeightType type) {
  int64_t rank = 0;
  for (const auto* matrix : {&lora.gate, &lora.up, &lora.down}) rank = matrix->has_value() ? std::max(rank, (*matrix)->rank()) : rank;
  return kernels::PackedRowBytes(type, rank);
}

const void* At(const std::optional<PackedRows>& rows, int64_t row) { return rows ? rows->at(row) : nullptr; }
const kernels::PackedMatrix* B(const std::optional<LoraMatrix>& matrix) { return matrix ? &matrix->packed_b() : nullptr; }

}  // namespace

LowRank::LowRank(const TrainCompute& compute, const LoraBlock& lora, const PackedRows& x, const PackedRows* dy) {
  if (lora.empty()) return;
  const int64_t bytes = RowBytes(lora, compute.type());
  if (lora.gate) gate.emplace(lora.gate->PackShrunk(x, bytes));
  if (lora.up) up.emplace(lora.up->PackShrunk(x, bytes));
  if (lora.down && dy != nullptr) down.emplace(lora.down->PackShrunkBack(*dy, bytes));
}

LowRank LowRank::Gather(std::span<const int64_t> rows) const {
  LowRank some;
  if (gate) some.gate.emplace(gate->Gather(rows));
  if (up) some.up.emplace(up->Gather(rows));
  if (down) some.down.emplace(down->Gather(rows));
  return some;
}

PackedRows ExpertTiles::Forward(const LowRank& z, std::span<const int64_t> rows, const Front& front) const {
  const auto n = static_cast<int64_t>(rows.size());
  const int64_t rank = lora.down ? lora.down->rank() : 0;
  const kernels::WeightType type = compute.type();
  at::Tensor z_down = at::empty({n, rank}, at::kFloat);
  float* all_z = z_down.mutable_data_ptr<float>();
  ForTiles(*compute.pool, n, [&](int64_t begin, int64_t end) {
    uint8_t fresh[kTile];
    for (int64_t i = begin; i < end; ++i) fresh[i - begin] = front.first[rows[i]];
    kernels::ExpertHiddenArgs args;
    args.type = type;
    args.gate = front.gate;
    args.up = front.up;
    args.h = front.h;
    args.stride = width;
    args.count = end - begin;
    args.rows = &rows[begin];
    args.weights = &front.weights[begin];
    args.first = fresh;
    args.gate_b = B(lora.gate);
    args.gate_z = At(z.gate, begin);
    args.up_b = B(lora.up);
    args.up_z = At(z.up, begin);
    args.z_bytes = RowBytes(lora, type);
    if (lora.down) args.hidden = Scratch::Rows(OfThisThread().gate, type, width);
    kernels::ExpertHidden(args, 0, width);
    for (int64_t i = begin; i < end; ++i) front.first[rows[i]] = 0;
    if (!lora.down) return;
    lora.down->ShrinkTile(args.hidden, end - begin, all_z + begin * rank);
    for (int64_t i = begin; i < end; ++i) loops::Scale(front.weights[i] * lora.down->scale(), rank, all_z + i * rank);
  });
  return PackedRows(compute, all_z, n, rank);
}

void AddDownTiles(kernels::ThreadPool& pool, const LoraMatrix& down, const PackedRows& z, std::span<const int64_t> rows, float* y) {
  ForTiles(pool, z.rows(), [&](int64_t begin, int64_t end) { down.AddDelta(z.at(begin), end - begin, &rows[begin], y); });
}

void ExpertTiles::Backward(const LowRank& z, std::span<const int64_t> rows, const Back& back) const {
  const kernels::WeightType type = compute.type();
  ForTiles(*compute.pool, static_cast<int64_t>(rows.size()), [&](int64_t begin, int64_t end) {
    const int64_t count = end - begin;
    Scratch& scratch = OfThisThread();
    uint8_t fresh[kTile];
    kernels::ExpertBackwardArgs args;
    args.type = type;
    args.gate = back.gate;
    args.up = back.up;
    args.back = back.d;
    args.stride = width;
    args.count = count;
    args.rows = &rows[begin];
    args.gate_b = B(lora.gate);
    args.gate_z = At(z.gate, begin);
    args.up_b = B(lora.up);
    args.up_z = At(z.up, begin);
    args.down_a = lora.down ? &lora.down->packed_a_transposed() : nullptr;
    args.down_z = At(z.down, begin);
    args.z_bytes = RowBytes(lora, type);
    if (back.dots != nullptr) args.dots = back.dots + begin;
    if (!back.weights.empty()) {
      for (int64_t i = begin; i < end; ++i) fresh[i - begin] = back.first[rows[i]];
      args.weights = &back.weights[begin];
      args.first = fresh;
      args.dgate = back.dgate;
      args.dup = back.dup;
      if (lora.gate) args.own_dgate = Scratch::Rows(scratch.gate, type, width);
      if (lora.up) args.own_dup = Scratch::Rows(scratch.up, type, width);
    }
    kernels::ExpertBackward(args, width);
    if (back.weights.empty()) return;
    for (int64_t i = begin; i < end; ++i) back.first[rows[i]] = 0;
    const auto through = [&](const std::optional<LoraMatrix>& matrix, const void* gradient) {
      if (!matrix) return;
      float* e = scratch.LowRank(matrix->rank());
      matrix->ShrinkBackTile(gradient, count, e);
      const kernels::RunInline inline_work;  // this is the pool's work already
      void* packed = Scratch::Rows(scratch.packed, type, matrix->rank());
      kernels::PackRows(*compute.pool, e, count, matrix->rank(), matrix->rank(), type, packed);
      matrix->AddDeltaBack(packed, count, &rows[begin], back.dx);
    };
    through(lora.gate, args.own_dgate);
    through(lora.up, args.own_dup);
  });
}

}  // namespace switchyard::trainer
