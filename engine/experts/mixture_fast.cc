// The single-down mixture on our kernels.
//
// Beside the base's three products there are two passes. The first, by expert: z = A x of gate and up, each expert's matrices read once.
// The second, by tile of the width: for the base and then for each slot in order, gate and up gain their low-rank parts, the hidden units
// are summed into h, and the tile's share of the down adapter's A h_e is taken while h_e is in the cache. Gate and up are never copied or
// written again, an expert's tile of B stays in the cache from one slot to the next, and tiles are independent of each other. Last, down
// and on top of it, by columns of y, the low-rank rest.
//
// The tile is a constant: the sum of A h_e over the tiles, and with it every bit of a row, depends on nothing but the row.
#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/experts/mixture.h"
#include "engine/experts/mixture_baselines.h"
#include "engine/experts/row_groups.h"
#include "engine/experts/scratch.h"
#include "engine/kernels/kernels.h"

namespace switchyard {

namespace {

using kernels::WeightType;

// The calling thread's own pool of one: what a task computes is not split again.
kernels::ThreadPool& Inline() {
  thread_local kernels::ThreadPool pool(1);
  return pool;
}

constexpr int64_t kTile = 256;        // columns of the hidden units
constexpr int64_t kBlockRows = 48;    // rows whose h_e tile stays in the first-level cache
constexpr int64_t kDownColumns = 64;  // of y, a task

class SingleDown {
 public:
  // Borrows everything.
  SingleDown(kernels::ThreadPool& pool, const float* x, int64_t rows, const FeedForward& ffn, const RowGroups& groups)
      : pool_(pool),
        ffn_(ffn),
        groups_(groups),
        x_(x),
        rows_(rows),
        hidden_(ffn.gate.in_features()),
        width_(ffn.gate.out_features()),
        tiles_((width_ + kTile - 1) / kTile),
        type_(ffn.gate.weight_type()) {
    // A power of two between the rows would put all of them into the same few sets of the cache.
    stride_ = groups.all().empty() ? width_ : width_ + 16;
    thread_local Scratch gate, up, h, packed_x, z_gate, z_up, partial, z_down;
    gate_ = gate.Floats(rows_ * stride_);
    up_ = up.Floats(rows_ * stride_);
    h_ = h.Floats(rows_ * stride_);
    x_bytes_ = kernels::PackedRowBytes(type_, hidden_);
    packed_x_ = static_cast<char*>(packed_x.Bytes(rows_ * x_bytes_));
    for (const RowGroup& group : groups.all()) {
      const ExpertLayer& expert = *group.expert;
      if (expert.gate) input_rank_ = std::max(input_rank_, expert.gate->rank());
      if (expert.up) input_rank_ = std::max(input_rank_, expert.up->rank());
      if (expert.down) down_rank_ = std::max(down_rank_, expert.down->rank());
    }
    z_bytes_ = kernels::PackedRowBytes(type_, input_rank_);
    down_z_bytes_ = kernels::PackedRowBytes(type_, down_rank_);
    const int64_t count = groups.assignments();
    z_gate_ = static_cast<char*>(z_gate.Bytes(count * z_bytes_));
    z_up_ = static_cast<char*>(z_up.Bytes(count * z_bytes_));
    partial_ = partial.Floats(tiles_ * count * down_rank_);
    z_down_ = static_cast<char*>(z_down.Bytes(count * down_z_bytes_));
  }

  void Run(float* y) {
    kernels::PackRows(pool_, x_, rows_, hidden_, hidden_, type_, packed_x_);
    ffn_.gate.ForwardPacked(packed_x_, rows_, gate_, stride_);
    ffn_.up.ForwardPacked(packed_x_, rows_, up_, stride_);
    if (groups_.all().empty()) {
      kernels::SiluMul(pool_, gate_, up_, rows_ * width_, h_);
      return ffn_.down.ForwardInto(h_, rows_, stride_, y, hidden_, /*accumulate=*/false);
    }
    ListBaseRows();
    ShrinkInput();
    pool_.ParallelFor(tiles_, 1, [this](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile) HiddenTile(tile);
    });
    ffn_.down.ForwardInto(h_, rows_, stride_, y, hidden_, /*accumulate=*/false);
    if (down_rank_ > 0) AddDown(y);
  }

 private:
  // Part of an expert's assignments: [begin, end) of all.
  struct Part {
    const ExpertLayer* expert;
    int64_t begin, end;
    bool gate, up;
  };

  void ListBaseRows() {
    for (int64_t row = 0; row < rows_; ++row) {
      if (groups_.base_share(row) == 0) continue;
      base_rows_.push_back(row);
      base_shares_.push_back(groups_.base_share(row));
    }
    base_first_.assign(base_rows_.size(), 1);
  }

  // z = s A x of gate and up for all assignments.
  void ShrinkInput() {
    std::vector<Part> parts;
    for (const RowGroup& group : groups_.all()) {
      const int64_t end = group.first + static_cast<int64_t>(group.rows.size());
      const bool extends = !parts.empty() && parts.back().expert == group.expert;
      int64_t begin = extends ? parts.back().begin : group.first;
      if (extends) parts.pop_back();
      for (; begin < end; begin += kBlockRows) parts.push_back({group.expert, begin, std::min(begin + kBlockRows, end), true, true});
    }
    // Few experts: gate and up apart, so that all threads have something to read.
    if (static_cast<int64_t>(parts.size()) < 2 * pool_.threads()) {
      const size_t whole = parts.size();
      for (size_t i = 0; i < whole; ++i) {
        parts[i].up = false;
        parts.push_back({parts[i].expert, parts[i].begin, parts[i].end, false, true});
      }
    }
    pool_.ParallelFor(static_cast<int64_t>(parts.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ShrinkInput(parts[static_cast<size_t>(i)]);
    });
  }

  void ShrinkInput(const Part& part) {
    thread_local Scratch scratch;
    const int64_t count = part.end - part.begin;
    const int64_t* rows = groups_.rows().data() + part.begin;
    const char* x = packed_x_ + rows[0] * x_bytes_;
    if (count > 1) {
      char* gathered = static_cast<char*>(scratch.Bytes(count * x_bytes_));
      for (int64_t i = 0; i < count; ++i)
        std::memcpy(gathered + i * x_bytes_, packed_x_ + rows[i] * x_bytes_, static_cast<size_t>(x_bytes_));
      x = gathered;
    }
    if (part.gate) Shrink(part.expert->gate, x, count, z_gate_ + part.begin * z_bytes_);
    if (part.up) Shrink(part.expert->up, x, count, z_up_ + part.begin * z_bytes_);
  }

  void Shrink(const std::optional<ExpertLora>& lora, const void* x, int64_t count, char* z) const {
    if (!lora) return;
    thread_local Scratch scratch;
    const int64_t rank = lora->rank();
    float* product = scratch.Floats(count * rank);
    kernels::GemmOfPart(x, count, lora->a(), {0, rank, 0, hidden_}, product, rank, /*accumulate=*/false, nullptr);
    for (int64_t i = 0; i < count * rank; ++i) product[i] *= lora->scale();
    // A lower rank than the largest fills the first part of its rows.
    const bool dense = kernels::PackedRowBytes(type_, rank) == z_bytes_;
    if (dense) return kernels::PackRows(Inline(), product, count, rank, rank, type_, z);
    for (int64_t i = 0; i < count; ++i) kernels::PackRows(Inline(), product + i * rank, 1, rank, rank, type_, z + i * z_bytes_);
  }

  void HiddenTile(int64_t tile) {
    const int64_t begin = tile * kTile, end = std::min(begin + kTile, width_);
    RowGroup base;
    base.rows = base_rows_;
    base.weights = base_shares_;
    base.starts = base_first_;
    AddHidden(base, begin, end, nullptr);
    float* partial = partial_ + tile * groups_.assignments() * down_rank_;
    for (const int32_t i : groups_.by_slot()) {
      const RowGroup& group = groups_.all()[static_cast<size_t>(i)];
      AddHidden(group, begin, end, partial + group.first * down_rank_);
    }
  }

  // Columns [begin, end): h += w h_e, and the columns' part of A h_e.
  void AddHidden(const RowGroup& group, int64_t begin, int64_t end, float* partial) {
    thread_local Scratch scratch;
    const bool down = group.expert != nullptr && group.expert->down.has_value();
    kernels::ExpertHiddenArgs args;
    args.type = type_;
    args.gate = gate_;
    args.up = up_;
    args.h = h_;
    args.stride = stride_;
    args.z_bytes = z_bytes_;
    if (down) args.hidden = scratch.Bytes(kBlockRows * kernels::PackedRowBytes(type_, kTile));
    if (group.expert != nullptr && group.expert->gate) args.gate_b = &group.expert->gate->b();
    if (group.expert != nullptr && group.expert->up) args.up_b = &group.expert->up->b();
    const auto size = static_cast<int64_t>(group.rows.size());
    for (int64_t i = 0; i < size; i += kBlockRows) {
      args.count = std::min(kBlockRows, size - i);
      args.rows = group.rows.data() + i;
      args.weights = group.weights.data() + i;
      args.first = group.starts.data() + i;
      args.gate_z = z_gate_ + (group.first + i) * z_bytes_;
      args.up_z = z_up_ + (group.first + i) * z_bytes_;
      kernels::ExpertHidden(args, begin, end);
      if (!down) continue;
      const ExpertLora& lora = *group.expert->down;
      kernels::GemmOfPart(args.hidden, args.count, lora.a(), {0, lora.rank(), begin, end}, partial + i * down_rank_, down_rank_,
                          /*accumulate=*/false, nullptr);
    }
  }

  // y += w s B A h_e
  void AddDown(float* y) {
    for (const RowGroup& group : groups_.all()) {
      if (group.expert->down) SumPartials(group);
    }
    const int64_t tasks = (hidden_ + kDownColumns - 1) / kDownColumns;
    pool_.ParallelFor(tasks, 1, [&](int64_t begin, int64_t end) {
      const int64_t last = std::min(end * kDownColumns, hidden_);
      for (const int32_t i : groups_.by_slot()) {
        const RowGroup& group = groups_.all()[static_cast<size_t>(i)];
        if (!group.expert->down) continue;
        const ExpertLora& lora = *group.expert->down;
        kernels::GemmOfPart(z_down_ + group.first * down_z_bytes_, static_cast<int64_t>(group.rows.size()), lora.b(),
                            {begin * kDownColumns, last, 0, lora.rank()}, y, hidden_, /*accumulate=*/true, group.rows.data());
      }
    });
  }

  // The tiles' parts of A h_e in their order, times weight and scale.
  void SumPartials(const RowGroup& group) {
    thread_local Scratch scratch;
    const ExpertLora& lora = *group.expert->down;
    const int64_t rank = lora.rank(), size = static_cast<int64_t>(group.rows.size());
    float* z = scratch.Floats(size * rank);
    for (int64_t i = 0; i < size; ++i) {
      const float* from = partial_ + (group.first + i) * down_rank_;
      float* sum = z + i * rank;
      std::memcpy(sum, from, static_cast<size_t>(rank) * sizeof(float));
      for (int64_t tile = 1; tile < tiles_; ++tile) {
        from += groups_.assignments() * down_rank_;
        for (int64_t r = 0; r < rank; ++r) sum[r] += from[r];
      }
      const float factor = group.weights[i] * lora.scale();
      for (int64_t r = 0; r < rank; ++r) sum[r] *= factor;
    }
    kernels::PackRows(Inline(), z, size, rank, rank, type_, z_down_ + group.first * down_z_bytes_);
  }

  kernels::ThreadPool& pool_;
  const FeedForward& ffn_;
  const RowGroups& groups_;
  const float* x_;
  const int64_t rows_, hidden_, width_, tiles_;
  const WeightType type_;
  int64_t stride_;                            // of the three
  float *gate_, *up_, *h_;                    // [rows, width]
  char* packed_x_;                            // [rows]
  int64_t x_bytes_, z_bytes_, down_z_bytes_;  // of a packed row
  int64_t input_rank_ = 0, down_rank_ = 0;    // the largest
  char *z_gate_, *z_up_, *z_down_;            // [assignments], packed
  float* partial_;                            // [tiles, assignments, down_rank_]
  std::vector<int64_t> base_rows_;            // with a base share
  std::vector<float> base_shares_;
  std::vector<uint8_t> base_first_;
};

}  // namespace

void MixtureFast(const Compute& compute, const float* x, int64_t rows, const FeedForward& ffn, const ExpertBank& bank, int32_t layer,
                 const LayerRoutes& routes, MixtureAlgorithm algorithm, float* y) {
  const RowGroups groups(bank, layer, routes);
  if (algorithm == MixtureAlgorithm::kSingleDown) return SingleDown(*compute.pool, x, rows, ffn, groups).Run(y);
  const at::Tensor input = at::from_blob(const_cast<float*>(x), {rows, ffn.gate.in_features()}, at::kFloat);
  const at::Tensor result = MixtureBaseline(compute, input, ffn, groups, algorithm);
  std::memcpy(y, result.const_data_ptr<float>(), result.nbytes());
}

at::Tensor MixtureFast(const Compute& compute, const at::Tensor& x, const FeedForward& ffn, const ExpertBank& bank, int32_t layer,
                       const LayerRoutes& routes, MixtureAlgorithm algorithm) {
  const at::Tensor input = x.contiguous();
  at::Tensor y = at::empty({input.size(0), ffn.gate.in_features()}, at::kFloat);
  MixtureFast(compute, input.const_data_ptr<float>(), input.size(0), ffn, bank, layer, routes, algorithm, y.mutable_data_ptr<float>());
  return y;
}

}  // namespace switchyard
