#include "trainer/nn/mixture_block.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <span>

#include "trainer/nn/expert_orthogonality.h"
#include "trainer/nn/expert_rows.h"
#include "trainer/nn/expert_tiles.h"
#include "trainer/nn/loops.h"

namespace switchyard::trainer {

namespace {

float* Data(at::Tensor& t) { return t.mutable_data_ptr<float>(); }
const float* Data(const at::Tensor& t) { return t.const_data_ptr<float>(); }

// One expert's hidden units for its rows, rebuilt alike in both directions.
struct Hidden {
  const float* x = nullptr;     // [n, H]
  const float* gate = nullptr;  // [n, M] with the adapter's part
  const float* up = nullptr;
  at::Tensor h;           // [n, M]
  at::Tensor zg, zu, zd;  // [n, rank]
  at::Tensor x_rows, gate_rows, up_rows;
};

// pre [n, M] += s B A x
at::Tensor AddLora(const LoraMatrix& lora, const float* x, int64_t rows, float* pre) {
  at::Tensor z = at::empty({rows, lora.rank()}, at::kFloat);
  lora.Shrink(x, rows, Data(z));
  lora.Expand(Data(std::as_const(z)), rows, pre);
  return z;
}

}  // namespace

struct MixtureBlock::Rows {
  const MixtureBlock& block;
  const LoraBlock& lora;
  const ExpertRows& rows;
  const LoraDropout& dropout;
  kernels::ThreadPool& pool;
  int64_t hidden, width;

  Dropped DropIn(Projection p) const { return Dropped(pool, dropout, p, rows, hidden); }
  Dropped DropDown() const { return Dropped(pool, dropout, Projection::kDown, rows, width); }

  // gate, up [T, M]: G and U, of f32 or bf16.
  template <typename T>
  Hidden Compute(const float* x_all, const T* gate, const T* up) const {
    Hidden out;
    const int64_t n = rows.size();
    out.x = rows.Gather(pool, x_all, hidden, &out.x_rows);
    at::Tensor scratch;
    float *pre_gate = rows.Copy(pool, gate, width, &out.gate_rows), *pre_up = rows.Copy(pool, up, width, &out.up_rows);
    if (lora.gate) out.zg = AddLora(*lora.gate, DropIn(Projection::kGate).Of(out.x, &scratch), n, pre_gate);
    if (lora.up) out.zu = AddLora(*lora.up, DropIn(Projection::kUp).Of(out.x, &scratch), n, pre_up);
    out.gate = pre_gate;
    out.up = pre_up;
    out.h = at::empty({n, width}, at::kFloat);
    float* h = Data(out.h);
    pool.ParallelFor(n, kRowGrain, [&](int64_t begin, int64_t end) {
      loops::SwiGlu(out.gate + begin * width, out.up + begin * width, (end - begin) * width, h + begin * width);
    });
    if (lora.down) {
      out.zd = at::empty({n, lora.down->rank()}, at::kFloat);
      lora.down->Shrink(DropDown().Of(h, &scratch), n, Data(out.zd));
    }
    return out;
  }
};

MixtureBlock::MixtureBlock(const TrainCompute& compute, const at::Tensor& gate, const at::Tensor& up, const at::Tensor& down)
    : compute_(&compute), gate_(compute, gate), up_(compute, up), down_(compute, down) {}

namespace {

// 1 - what the experts with adapters take.
std::vector<float> BaseShares(const Gates& gates, const std::vector<LoraBlock*>& experts) {
  std::vector<float> shares(static_cast<size_t>(gates.rows), 1.0f);
  for (int64_t row = 0; row < gates.rows; ++row) {
    for (int32_t e = 0; e < gates.experts; ++e) {
      if (!experts[e]->empty()) shares[row] -= gates.at(row, e);
    }
    if (std::abs(shares[row]) < 1e-6f) shares[row] = 0;
  }
  return shares;
}

// Rows with what they take of something, and those that take nothing.
struct Takers {
  std::vector<int64_t> rows, others;
  std::vector<float> weights;  // of `rows`

  template <typename Weight>
  Takers(int64_t count, const Weight& weight) {
    for (int64_t row = 0; row < count; ++row) {
      const float w = weight(row);
      (w != 0 ? rows : others).push_back(row);
      if (w != 0) weights.push_back(w);
    }
  }
};

// Rows of sums [T, width] that nothing was written to yet start from zero.
void ZeroFirst(std::span<const int64_t> rows, int64_t width, const std::vector<float*>& sums, std::vector<uint8_t>* first) {
  for (const int64_t row : rows) {
    if ((*first)[row] == 0) continue;
    for (float* sum : sums) std::memset(sum + row * width, 0, static_cast<size_t>(width) * sizeof(float));
    (*first)[row] = 0;
  }
}

// A [T, M] matrix as it waits for the way back.
at::Tensor Kept(const TrainCompute& compute, const at::Tensor& wide) {
  if (compute.dtype != at::kBFloat16) return wide;
  at::Tensor narrow = at::empty(wide.sizes(), at::kBFloat16);
  auto* to = static_cast<kernels::bf16*>(narrow.mutable_data_ptr());
  const float* from = Data(wide);
  const int64_t width = wide.size(1);
  compute.pool->ParallelFor(wide.size(0), kRowGrain, [&](int64_t begin, int64_t end) {
    kernels::F32ToBf16(from + begin * width, (end - begin) * width, to + begin * width);
  });
  return narrow;
}

std::vector<int64_t> EveryRow(int64_t rows) {
  std::vector<int64_t> all(static_cast<size_t>(rows));
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

}  // namespace

void MixtureBlock::Forward(const float* x, const Gates& gates, const std::vector<LoraBlock*>& experts, const LoraDropout& dropout,
                           MixtureSaved* saved, float* y) const {
  kernels::ThreadPool& pool = *compute_->pool;
  const int64_t rows = gates.rows, hidden = gate_.in_features(), width = gate_.out_features();
  at::Tensor gate = at::empty({rows, width}, at::kFloat), up = at::empty({rows, width}, at::kFloat);
  const PackedRows packed(*compute_, x, rows, hidden);
  gate_.Forward(packed, Data(gate));
  up_.Forward(packed, Data(up));
  const float *g = Data(std::as_const(gate)), *u = Data(std::as_const(up));
  at::Tensor mixed = at::empty({rows, width}, at::kFloat);
  float* h = Data(mixed);
  std::vector<uint8_t> first(static_cast<size_t>(rows), 1);
  const std::vector<float> shares = BaseShares(gates, experts);
  const LoraBlock none;
  const auto tiles_of = [&](const LoraBlock& lora) { return ExpertTiles{*compute_, lora, width}; };
  const Takers base(rows, [&](int64_t row) { return shares[row]; });
  tiles_of(none).Forward({}, base.rows, {g, u, base.weights, first.data(), h});
  struct Down {
    ExpertRows rows;
    const LoraMatrix* lora;
    at::Tensor z;
  };
  std::vector<Down> downs;
  struct TiledDown {
    const LoraMatrix* lora;
    std::vector<int64_t> rows;
    PackedRows z;
  };
  std::vector<TiledDown> tiled_downs;
  for (int32_t e = 0; e < gates.experts; ++e) {
    const LoraBlock& lora = *experts[e];
    if (lora.empty()) continue;
    if (dropout.probability <= 0) {
      Takers mine(rows, [&](int64_t row) { return gates.at(row, e); });
      if (mine.rows.empty()) continue;
      const LowRank z(*compute_, lora, mine.others.empty() ? packed : packed.Gather(mine.rows), nullptr);
      PackedRows z_down = tiles_of(lora).Forward(z, mine.rows, {g, u, mine.weights, first.data(), h});
      if (lora.down) tiled_downs.push_back({&*lora.down, std::move(mine.rows), std::move(z_down)});
      continue;
    }
    ExpertRows mine(gates, e, /*every_row=*/false);
    if (mine.size() == 0) continue;
    ZeroFirst(mine.List(), width, {h}, &first);
    const Rows work{*this, lora, mine, dropout, pool, hidden, width};
    Hidden own = work.Compute(x, g, u);
    const float* h_e = Data(std::as_const(own.h));
    pool.ParallelFor(mine.size(), kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) loops::Axpy(gates.at(mine[i], e), h_e + i * width, width, h + mine[i] * width);
    });
    if (!lora.down) continue;
    float* z = Data(own.zd);
    const int64_t rank = lora.down->rank();
    for (int64_t i = 0; i < mine.size(); ++i) loops::Scale(gates.at(mine[i], e), rank, z + i * rank);
    downs.push_back({std::move(mine), &*lora.down, std::move(own.zd)});
  }
  if (saved != nullptr) *saved = {Kept(*compute_, gate), Kept(*compute_, up)};
  ZeroFirst(EveryRow(rows), width, {h}, &first);
  down_.Forward(h, rows, y);
  for (const TiledDown& down : tiled_downs) AddDownTiles(pool, *down.lora, down.z, down.rows, y);
  for (const Down& down : downs) {
    if (down.rows.whole()) {
      down.lora->Expand(Data(down.z), rows, y);
      continue;
    }
    at::Tensor part = at::zeros({down.rows.size(), hidden}, at::kFloat);
    down.lora->Expand(Data(down.z), down.rows.size(), Data(part));
    down.rows.ScatterAdd(pool, Data(std::as_const(part)), hidden, y);
  }
}

// One call of Backward: what all experts' parts share.
struct MixtureBlock::Way {
  const MixtureBlock& block;
  const float* x;
  const Gates& gates;
  const LoraDropout& dropout;
  const MixtureSaved& saved;
  const float *dy, *d;  // d = Wdᵀ dy
  float *dg, *du;       // [T, M] sums
  float *dx, *dgates;   // dgates may be null
  std::vector<uint8_t> first;
  std::vector<float> base_dot;  // [T] <h_0, D>

  int64_t hidden() const { return block.gate_.in_features(); }
  int64_t width() const { return block.gate_.out_features(); }
  kernels::ThreadPool& pool() const { return *block.compute_->pool; }
  ExpertTiles Tiles(const LoraBlock& lora) const { return {*block.compute_, lora, width()}; }
  ExpertTiles::Back BackOf(std::vector<float>& dots, std::span<const float> weights) {
    return {
        saved.gate.const_data_ptr(), saved.up.const_data_ptr(), d, dots.empty() ? nullptr : dots.data(), weights, first.data(), dg, du, dx};
  }
  void KeepDots(std::span<const int64_t> rows, const std::vector<float>& dots, int32_t expert) const {
    for (size_t i = 0; i < dots.size(); ++i) dgates[rows[i] * gates.experts + expert] = dots[i] - base_dot[rows[i]];
  }

  void Base(const std::vector<float>& shares);
  void Tiled(int32_t e, const LoraBlock& lora, const PackedRows& x_packed, const PackedRows& dy_packed);
  void Whole(int32_t e, LoraBlock& lora, bool wants_dots);
};

void MixtureBlock::Way::Base(const std::vector<float>& shares) {
  const LoraBlock none;
  const Takers base(gates.rows, [&](int64_t row) { return shares[row]; });
  const auto some = [&](const std::vector<int64_t>& rows, const std::vector<float>& weights) {
    std::vector<float> dots(dgates != nullptr ? rows.size() : 0);
    Tiles(none).Backward({}, rows, BackOf(dots, weights));
    for (size_t i = 0; i < dots.size(); ++i) base_dot[rows[i]] = dots[i];
  };
  some(base.rows, base.weights);
  if (dgates != nullptr) some(base.others, {});
}

// An expert's dots where they are wanted, and its gradients unless it trains.
void MixtureBlock::Way::Tiled(int32_t e, const LoraBlock& lora, const PackedRows& x_packed, const PackedRows& dy_packed) {
  const bool every_row = dgates != nullptr && gates.dense_gradient;
  const bool trains = lora.trains();
  const Takers mine(gates.rows, [&](int64_t row) { return trains ? 0.0f : gates.at(row, e); });
  if (mine.rows.empty() && !every_row) return;
  // Where all rows count, the low-rank products are those of all rows, too.
  std::optional<LowRank> all;
  if (every_row) all.emplace(*block.compute_, lora, x_packed, &dy_packed);
  const auto some = [&](const std::vector<int64_t>& rows, const std::vector<float>& weights) {
    if (rows.empty()) return;
    const bool whole = static_cast<int64_t>(rows.size()) == gates.rows;
    std::optional<LowRank> own;
    if (all && !whole) own.emplace(all->Gather(rows));
    if (!all && whole) own.emplace(*block.compute_, lora, x_packed, &dy_packed);
    if (!all && !whole) {
      const PackedRows dy_rows = dy_packed.Gather(rows);
      own.emplace(*block.compute_, lora, x_packed.Gather(rows), &dy_rows);
    }
    std::vector<float> dots(dgates != nullptr ? rows.size() : 0);
    Tiles(lora).Backward(own ? *own : *all, rows, BackOf(dots, weights));
    KeepDots(rows, dots, e);
  };
  some(mine.rows, mine.weights);
  if (every_row) some(mine.others, {});
}

// An expert that trains, or sees dropout: its hidden units in full.
void MixtureBlock::Way::Whole(int32_t e, LoraBlock& lora, bool wants_dots) {
  const ExpertRows mine(gates, e, /*every_row=*/wants_dots && gates.dense_gradient);
  const int64_t n = mine.size(), hidden = this->hidden(), width = this->width();
  if (n == 0) return;
  kernels::ThreadPool& pool = this->pool();
  const Rows work{block, lora, mine, dropout, pool, hidden, width};
  Hidden own = block.compute_->dtype == at::kBFloat16 ? work.Compute(x, static_cast<const kernels::bf16*>(saved.gate.const_data_ptr()),
                                                                     static_cast<const kernels::bf16*>(saved.up.const_data_ptr()))
                                                      : work.Compute(x, Data(saved.gate), Data(saved.up));
  at::Tensor dy_rows, d_rows;
  const float* dy_e = mine.Gather(pool, dy, hidden, &dy_rows);
  // d(full_e)/dh_e carried back: D + s Adᵀ Bdᵀ dy.
  const float* d_e = mine.Gather(pool, d, width, &d_rows);
  at::Tensor through, e_down;
  if (lora.down) {
    e_down = at::empty({n, lora.down->rank()}, at::kFloat);
    lora.down->ShrinkBack(dy_e, n, Data(e_down));
    through = at::zeros({n, width}, at::kFloat);
    lora.down->ExpandBack(Data(std::as_const(e_down)), n, Data(through));
    work.DropDown().Mask(Data(through));
    float* to = Data(through);
    pool.ParallelFor(n, kRowGrain, [&](int64_t begin, int64_t end) {
      loops::Axpy(1.0f, d_e + begin * width, (end - begin) * width, to + begin * width);
    });
    d_e = to;
  }
  const float* h_e = Data(std::as_const(own.h));
  if (wants_dots) {
    pool.ParallelFor(n, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        // <h_e, D + s Adᵀ Bdᵀ dy> = <h_e, D> + <s Bd Ad h_e, dy>
        dgates[mine[i] * gates.experts + e] = loops::Dot(h_e + i * width, d_e + i * width, width) - base_dot[mine[i]];
      }
    });
  }
  // Rows with a gate of 0 are here for dgates alone.
  bool any = false;
  for (int64_t i = 0; i < n && !any; ++i) any = gates.at(mine[i], e) != 0;
  if (!any) return;
  if (lora.down && lora.down->trainable()) {
    at::Tensor weighted = e_down.clone(), scratch, dy_weighted = at::empty({n, hidden}, at::kFloat);
    float *w = Data(weighted), *dw = Data(dy_weighted);
    const int64_t rank = lora.down->rank();
    std::memcpy(dw, dy_e, static_cast<size_t>(n * hidden) * sizeof(float));
    for (int64_t i = 0; i < n; ++i) {
      const float gate = gates.at(mine[i], e);
      if (gate == 1) continue;
      loops::Scale(gate, rank, w + i * rank);
      loops::Scale(gate, hidden, dw + i * hidden);
    }
    lora.down->AddGradients(work.DropDown().Of(h_e, &scratch), Data(std::as_const(own.zd)), dw, w, n);
  }
  ZeroFirst(mine.List(), width, {dg, du}, &first);
  at::Tensor own_dgate = at::empty({n, width}, at::kFloat), own_dup = at::empty({n, width}, at::kFloat);
  float *odg = Data(own_dgate), *odu = Data(own_dup);
  pool.ParallelFor(n, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i * width;
      loops::SwiGluBackward(own.gate + at, own.up + at, d_e + at, gates.at(mine[i], e), width, /*accumulate=*/false, odg + at, odu + at);
      loops::Axpy(1.0f, odg + at, width, dg + mine[i] * width);
      loops::Axpy(1.0f, odu + at, width, du + mine[i] * width);
    }
  });
  at::Tensor dx_rows = at::zeros({n, hidden}, at::kFloat), scratch;
  const auto back = [&](std::optional<LoraMatrix>& matrix, Projection projection, const float* d_pre, const at::Tensor& z) {
    if (!matrix) return;
    at::Tensor shrunk = at::empty({n, matrix->rank()}, at::kFloat);
    matrix->ShrinkBack(d_pre, n, Data(shrunk));
    const Dropped dropped = work.DropIn(projection);
    if (matrix->trainable()) matrix->AddGradients(dropped.Of(own.x, &scratch), Data(z), d_pre, Data(std::as_const(shrunk)), n);
    if (!dropped.active()) return matrix->ExpandBack(Data(std::as_const(shrunk)), n, Data(dx_rows));
    at::Tensor part = at::zeros({n, hidden}, at::kFloat);
    matrix->ExpandBack(Data(std::as_const(shrunk)), n, Data(part));
    dropped.Mask(Data(part));
    dx_rows.add_(part);
  };
  back(lora.gate, Projection::kGate, odg, own.zg);
  back(lora.up, Projection::kUp, odu, own.zu);
  mine.ScatterAdd(pool, Data(std::as_const(dx_rows)), hidden, dx);
}

double MixtureBlock::Backward(const float* x, const Gates& gates, const std::vector<LoraBlock*>& experts, const LoraDropout& dropout,
                              const MixtureSaved& saved, const float* dy, float* dx, float* dgates, double orthogonality) const {
  const int64_t rows = gates.rows, hidden = gate_.in_features(), width = gate_.out_features();
  at::Tensor d = at::empty({rows, width}, at::kFloat);
  const PackedRows dy_packed(*compute_, dy, rows, hidden);
  down_.Backward(dy_packed, Data(d));
  at::Tensor dgate = at::empty({rows, width}, at::kFloat), dup = at::empty({rows, width}, at::kFloat);
  std::memset(dx, 0, static_cast<size_t>(rows * hidden) * sizeof(float));
  if (dgates != nullptr) std::memset(dgates, 0, static_cast<size_t>(rows * gates.experts) * sizeof(float));
  Way way{*this,
          x,
          gates,
          dropout,
          saved,
          dy,
          Data(std::as_const(d)),
          Data(dgate),
          Data(dup),
          dx,
          dgates,
          std::vector<uint8_t>(static_cast<size_t>(rows), 1),
          std::vector<float>(static_cast<size_t>(rows))};
  way.Base(BaseShares(gates, experts));
  std::optional<PackedRows> x_packed;
  for (int32_t e = 0; e < gates.experts; ++e) {
    LoraBlock& lora = *experts[e];
    if (lora.empty()) continue;  // the base: its delta is zero, and so is its gate's gradient
    // Experts that train keep what their gradients need, and dropout of a row's LoRA inputs is drawn where an expert runs in full; but the
    // dots of rows that did not take an expert never need more than tiles.
    const bool tiles_do = dropout.probability <= 0, dense_dots = tiles_do && dgates != nullptr && gates.dense_gradient;
    if (tiles_do && (dense_dots || !lora.trains())) {
      if (!x_packed) x_packed.emplace(*compute_, x, rows, hidden);
      way.Tiled(e, lora, *x_packed, dy_packed);
    }
    if (!tiles_do || lora.trains()) way.Whole(e, lora, dgates != nullptr && !dense_dots);
  }
  ZeroFirst(EveryRow(rows), width, {Data(dgate), Data(dup)}, &way.first);
  double loss = 0;
  if (orthogonality > 0) {
    const OrthogonalityPass pass{&down_, at::from_blob(const_cast<float*>(x), {rows, hidden}, at::kFloat), saved.gate, saved.up,
                                 orthogonality};
    loss = OrthogonalityBackward(pass, gates, experts, dgate, dup, at::from_blob(dx, {rows, hidden}, at::kFloat));
  }
  gate_.Backward(Data(std::as_const(dgate)), rows, dx, /*accumulate=*/true);
  up_.Backward(Data(std::as_const(dup)), rows, dx, /*accumulate=*/true);
  return loss;
}

}  // namespace switchyard::trainer
