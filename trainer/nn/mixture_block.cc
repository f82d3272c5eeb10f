#include "trainer/nn/mixture_block.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "trainer/nn/expert_tiles.h"
#include "trainer/nn/loops.h"

namespace switchyard::trainer {

namespace {

constexpr int64_t kRowGrain = 8;

float* Data(at::Tensor& t) { return t.mutable_data_ptr<float>(); }
const float* Data(const at::Tensor& t) { return t.const_data_ptr<float>(); }

// splitmix64 of a counter: the same bit for the same place in every pass.
uint64_t Mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

enum class Projection : uint64_t { kGate = 1, kUp = 2, kDown = 3 };

// The rows that take one expert, next to each other where all of them do.
class ExpertRows {
 public:
  ExpertRows(const Gates& gates, int32_t expert, bool every_row) : expert_(expert) {
    if (every_row) {
      whole_ = true;
    } else {
      for (int64_t row = 0; row < gates.rows; ++row) {
        if (gates.at(row, expert) != 0) rows_.push_back(row);
      }
      whole_ = static_cast<int64_t>(rows_.size()) == gates.rows;
    }
    count_ = whole_ ? gates.rows : static_cast<int64_t>(rows_.size());
  }

  int64_t size() const { return count_; }
  bool whole() const { return whole_; }
  int64_t operator[](int64_t i) const { return whole_ ? i : rows_[i]; }
  int32_t expert() const { return expert_; }
  std::vector<int64_t> List() const {
    std::vector<int64_t> list = rows_;
    list.resize(static_cast<size_t>(count_));
    if (whole_) std::iota(list.begin(), list.end(), int64_t{0});
    return list;
  }
  std::vector<float> Weights(const Gates& gates) const {
    std::vector<float> weights(static_cast<size_t>(count_));
    for (int64_t i = 0; i < count_; ++i) weights[i] = gates.at((*this)[i], expert_);
    return weights;
  }

  // The rows of a [T, width] matrix: itself, or gathered into `scratch`.
  const float* Gather(kernels::ThreadPool& pool, const float* from, int64_t width, at::Tensor* scratch) const {
    if (whole_) return from;
    float* to = Copy(pool, from, width, scratch);
    return to;
  }
  // The same, always a copy.
  float* Copy(kernels::ThreadPool& pool, const float* from, int64_t width, at::Tensor* scratch) const {
    *scratch = at::empty({count_, width}, at::kFloat);
    float* to = Data(*scratch);
    pool.ParallelFor(count_, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        std::memcpy(to + i * width, from + (*this)[i] * width, static_cast<size_t>(width) * sizeof(float));
    });
    return to;
  }
  // to[row] += from[i]
  void ScatterAdd(kernels::ThreadPool& pool, const float* from, int64_t width, float* to) const {
    pool.ParallelFor(count_, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) loops::Axpy(1.0f, from + i * width, width, to + (*this)[i] * width);
    });
  }

 private:
  int32_t expert_;
  bool whole_ = false;
  int64_t count_ = 0;
  std::vector<int64_t> rows_;
};

// x with dropout, or x itself.
class Dropped {
 public:
  Dropped(kernels::ThreadPool& pool, const LoraDropout& dropout, Projection projection, const ExpertRows& rows, int64_t width)
      : pool_(pool),
        dropout_(dropout),
        rows_(rows),
        width_(width),
        key_(Mix(dropout.seed ^ Mix(static_cast<uint64_t>(projection) << 32 | static_cast<uint32_t>(rows.expert())))) {}

  bool active() const { return dropout_.probability > 0; }
  const float* Of(const float* x, at::Tensor* scratch) const {
    if (!active()) return x;
    *scratch = at::empty({rows_.size(), width_}, at::kFloat);
    float* to = Data(*scratch);
    std::memcpy(to, x, static_cast<size_t>(rows_.size() * width_) * sizeof(float));
    Mask(to);
    return to;
  }
  // In place: what a gradient goes through on its way back.
  void Mask(float* x) const {
    if (!active()) return;
    const auto limit = static_cast<uint64_t>(dropout_.probability * 4294967296.0);
    const float keep = static_cast<float>(1.0 / (1.0 - dropout_.probability));
    pool_.ParallelFor(rows_.size(), kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const uint64_t row_key = Mix(key_ + static_cast<uint64_t>(rows_[i]));
        for (int64_t c = 0; c < width_; ++c)
          x[i * width_ + c] *= (Mix(row_key + static_cast<uint64_t>(c)) & 0xffffffffu) < limit ? 0.0f : keep;
      }
    });
  }

 private:
  kernels::ThreadPool& pool_;
  const LoraDropout& dropout_;
  const ExpertRows& rows_;
  int64_t width_;
  uint64_t key_;
};

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

  Hidden Compute(const float* x_all, const MixtureSaved& saved) const {
    Hidden out;
    const int64_t n = rows.size();
    out.x = rows.Gather(pool, x_all, hidden, &out.x_rows);
    at::Tensor scratch;
    if (lora.gate) {
      float* pre = rows.Copy(pool, Data(saved.gate), width, &out.gate_rows);
      out.zg = AddLora(*lora.gate, DropIn(Projection::kGate).Of(out.x, &scratch), n, pre);
      out.gate = pre;
    } else {
      out.gate = rows.Gather(pool, Data(saved.gate), width, &out.gate_rows);
    }
    if (lora.up) {
      float* pre = rows.Copy(pool, Data(saved.up), width, &out.up_rows);
      out.zu = AddLora(*lora.up, DropIn(Projection::kUp).Of(out.x, &scratch), n, pre);
      out.up = pre;
    } else {
      out.up = rows.Gather(pool, Data(saved.up), width, &out.up_rows);
    }
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

bool Trains(const LoraBlock& lora) {
  return (lora.gate && lora.gate->trainable()) || (lora.up && lora.up->trainable()) || (lora.down && lora.down->trainable());
}

// The rows of a [T, width] matrix that take an expert, packed; all of them are there already.
const PackedRows& PackedOf(const TrainCompute& compute, const ExpertRows& mine, const float* from, const PackedRows& all, int64_t width,
                           std::optional<PackedRows>* own) {
  if (mine.whole()) return all;
  at::Tensor scratch;
  return own->emplace(compute, mine.Gather(*compute.pool, from, width, &scratch), mine.size(), width);
}

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

}  // namespace

void MixtureBlock::Forward(const float* x, const Gates& gates, const std::vector<LoraBlock*>& experts, const LoraDropout& dropout,
                           MixtureSaved* saved, float* y) const {
  kernels::ThreadPool& pool = *compute_->pool;
  const int64_t rows = gates.rows, hidden = gate_.in_features(), width = gate_.out_features();
  saved->gate = at::empty({rows, width}, at::kFloat);
  saved->up = at::empty({rows, width}, at::kFloat);
  const PackedRows packed(*compute_, x, rows, hidden);
  gate_.Forward(packed, Data(saved->gate));
  up_.Forward(packed, Data(saved->up));
  const std::vector<float> shares = BaseShares(gates, experts);
  at::Tensor mixed = at::empty({rows, width}, at::kFloat);
  float* h = Data(mixed);
  const float *g = Data(saved->gate), *u = Data(saved->up);
  pool.ParallelFor(rows, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if (shares[row] == 0) {
        std::memset(h + row * width, 0, static_cast<size_t>(width) * sizeof(float));
        continue;
      }
      loops::SwiGlu(g + row * width, u + row * width, width, h + row * width);
      if (shares[row] != 1) loops::Scale(shares[row], width, h + row * width);
    }
  });
  struct Down {
    ExpertRows rows;
    const LoraMatrix* lora;
    at::Tensor z;
  };
  std::vector<Down> downs;
  struct TiledDown {
    const LoraBlock* lora;
    std::vector<int64_t> rows;
    PackedRows z;
  };
  std::vector<TiledDown> tiled_downs;
  for (int32_t e = 0; e < gates.experts; ++e) {
    if (experts[e]->empty()) continue;
    ExpertRows mine(gates, e, /*every_row=*/false);
    if (mine.size() == 0) continue;
    if (dropout.probability <= 0) {
      std::optional<PackedRows> x_rows;
      std::vector<int64_t> list = mine.List();
      const ExpertTiles tiles{*compute_, *experts[e], PackedOf(*compute_, mine, x, packed, hidden, &x_rows), list, g, u, hidden, width};
      PackedRows z = tiles.Forward(mine.Weights(gates), h);
      if (experts[e]->down) tiled_downs.push_back({experts[e], std::move(list), std::move(z)});
      continue;
    }
    const Rows work{*this, *experts[e], mine, dropout, pool, hidden, width};
    Hidden own = work.Compute(x, *saved);
    const float* h_e = Data(std::as_const(own.h));
    pool.ParallelFor(mine.size(), kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) loops::Axpy(gates.at(mine[i], e), h_e + i * width, width, h + mine[i] * width);
    });
    if (!experts[e]->down) continue;
    float* z = Data(own.zd);
    const int64_t rank = experts[e]->down->rank();
    for (int64_t i = 0; i < mine.size(); ++i) loops::Scale(gates.at(mine[i], e), rank, z + i * rank);
    downs.push_back({std::move(mine), &*experts[e]->down, std::move(own.zd)});
  }
  down_.Forward(h, rows, y);
  for (const TiledDown& down : tiled_downs) AddDownTiles(pool, *down.lora->down, down.z, down.rows, y);
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

void MixtureBlock::Backward(const float* x, const Gates& gates, const std::vector<LoraBlock*>& experts, const LoraDropout& dropout,
                            const MixtureSaved& saved, const float* dy, float* dx, float* dgates) const {
  kernels::ThreadPool& pool = *compute_->pool;
  const int64_t rows = gates.rows, hidden = gate_.in_features(), width = gate_.out_features();
  at::Tensor d_mixed = at::empty({rows, width}, at::kFloat);
  const PackedRows dy_packed(*compute_, dy, rows, hidden);
  down_.Backward(dy_packed, Data(d_mixed));
  const float* d = Data(std::as_const(d_mixed));
  const float *g = Data(saved.gate), *u = Data(saved.up);
  const std::vector<float> shares = BaseShares(gates, experts);
  at::Tensor dgate_all = at::empty({rows, width}, at::kFloat), dup_all = at::empty({rows, width}, at::kFloat);
  float *dg = Data(dgate_all), *du = Data(dup_all);
  std::vector<float> base_dot(dgates != nullptr ? static_cast<size_t>(rows) : 0);
  pool.ParallelFor(rows, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * width;
      if (dgates != nullptr) base_dot[row] = loops::SwiGluDot(g + at, u + at, d + at, width);
      if (shares[row] != 0) {
        loops::SwiGluBackward(g + at, u + at, d + at, shares[row], width, /*accumulate=*/false, dg + at, du + at);
      } else {
        std::memset(dg + at, 0, static_cast<size_t>(width) * sizeof(float));
        std::memset(du + at, 0, static_cast<size_t>(width) * sizeof(float));
      }
    }
  });
  if (dgates != nullptr) std::memset(dgates, 0, static_cast<size_t>(rows * gates.experts) * sizeof(float));
  // Experts that train keep what their gradients need, and dropout of a row's LoRA inputs is drawn where an expert runs in full; but the
  // dots of rows that did not take an expert never need more than tiles.
  const bool tiles_do = dropout.probability <= 0, dots_apart = tiles_do && dgates != nullptr && gates.dense_gradient;
  const PackedRows x_packed(*compute_, x, rows, hidden);
  std::memset(dx, 0, static_cast<size_t>(rows * hidden) * sizeof(float));
  for (int32_t e = 0; e < gates.experts; ++e) {
    LoraBlock& lora = *experts[e];
    if (lora.empty()) continue;  // the base: its delta is zero, and so is its gate's gradient
    const bool trains = Trains(lora);
    if (tiles_do && (dots_apart || !trains)) {
      const ExpertRows tiled(gates, e, /*every_row=*/dots_apart);
      if (tiled.size() == 0) continue;
      std::optional<PackedRows> x_rows, dy_rows;
      const std::vector<int64_t> list = tiled.List();
      std::vector<float> weights, dots(dgates != nullptr ? list.size() : 0);
      if (!trains) weights = tiled.Weights(gates);
      const ExpertTiles tiles{*compute_, lora, PackedOf(*compute_, tiled, x, x_packed, hidden, &x_rows), list, g, u, hidden, width};
      tiles.Backward(
          {PackedOf(*compute_, tiled, dy, dy_packed, hidden, &dy_rows), d, dgates != nullptr ? dots.data() : nullptr, weights, dg, du, dx});
      for (size_t i = 0; i < dots.size(); ++i) dgates[list[i] * gates.experts + e] = dots[i] - base_dot[list[i]];
      if (!trains) continue;
    }
    const bool every_row = dgates != nullptr && gates.dense_gradient && !dots_apart;
    const ExpertRows mine(gates, e, every_row);
    const int64_t n = mine.size();
    if (n == 0) continue;
    const Rows work{*this, lora, mine, dropout, pool, hidden, width};
    Hidden own = work.Compute(x, saved);
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
    if (dgates != nullptr && !dots_apart) {
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
    if (!any) continue;
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
  gate_.Backward(dg, rows, dx, /*accumulate=*/true);
  up_.Backward(du, rows, dx, /*accumulate=*/true);
}

}  // namespace switchyard::trainer
