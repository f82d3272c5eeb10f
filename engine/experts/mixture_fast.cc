// The single-down mixture on our kernels.
//
// Rows are grouped by (slot, expert) and each group is cut into blocks that fit the cache; a block's rank-r products are small matrix
// products, so A and B are read once a block and not once a row. Slots follow one another, since a row's sum runs over its slots in
// order; the blocks of one slot touch different rows and run at the same time. Every step is one of the kernels, row by row the same bits
// whatever the block.
//
// What costs beside the products is carrying [rows, width] activations around. So the rows are put in order first, while they are only
// [rows, hidden], such that rows which end with the same expert lie next to each other: their last expert works in place on the base's
// gate and up.
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

// Part of a group: assignments [begin, end) of it.
struct Block {
  const RowGroup* group;
  int64_t begin, end;
  int64_t rows() const { return end - begin; }
  bool contiguous() const { return group->last || rows() == 1; }
};

// The calling thread's own pool of one: what a block computes is not split again.
kernels::ThreadPool& Inline() {
  thread_local kernels::ThreadPool pool(1);
  return pool;
}

void Copy(const float* from, int64_t count, float* to) { std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float)); }

// y += weight * x
void AddScaled(const float* x, float weight, int64_t count, float* y) {
  const float one = 1.0f;
  kernels::LoraExpandAdd(&one, 1, x, count, weight, y);
}

class SingleDown {
 public:
  // Borrows everything; x [rows, hidden] in the order of `groups`.
  SingleDown(kernels::ThreadPool& pool, const float* x, int64_t rows, const FeedForward& ffn, const RowGroups& groups)
      : pool_(pool), ffn_(ffn), groups_(groups), x_(x), rows_(rows), hidden_(ffn.gate.in_features()), width_(ffn.gate.out_features()) {
    thread_local Scratch gate, up, h, z;
    gate_ = gate.Floats(rows_ * width_);
    up_ = up.Floats(rows_ * width_);
    h_ = h.Floats(rows_ * width_);
    for (const RowGroup& group : groups.all()) {
      slots_ = std::max(slots_, group.slot + 1);
      if (group.expert->down) down_rank_ = std::max(down_rank_, group.expert->down->rank());
    }
    z_ = z.Floats(groups.assignments() * down_rank_);
  }

  void Run(float* y) {
    ffn_.gate.ForwardInto(x_, rows_, hidden_, gate_, width_, /*accumulate=*/false);
    ffn_.up.ForwardInto(x_, rows_, hidden_, up_, width_, /*accumulate=*/false);
    BaseHidden();
    for (int32_t slot = 0; slot < slots_; ++slot)
      ForBlocks(slot, [this](const Block& block, kernels::ThreadPool& inside) { AddHidden(block, inside); });
    ffn_.down.ForwardInto(h_, rows_, width_, y, hidden_, /*accumulate=*/false);
    if (down_rank_ == 0) return;
    for (int32_t slot = 0; slot < slots_; ++slot) ForBlocks(slot, [&](const Block& block, kernels::ThreadPool&) { AddDown(block, y); });
  }

 private:
  // h = (1 - sum w) h_0, but for the rows that an `alone` group writes.
  void BaseHidden() {
    if (slots_ == 0) return kernels::SiluMul(pool_, gate_, up_, rows_ * width_, h_);
    std::vector<bool> skip(static_cast<size_t>(rows_));
    for (const RowGroup& group : groups_.all()) {
      if (!group.alone) continue;
      for (const int64_t row : group.rows) skip[static_cast<size_t>(row)] = true;
    }
    pool_.ParallelFor(rows_, std::max<int64_t>(1, kGrainFloats / width_), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        if (skip[static_cast<size_t>(row)]) continue;
        float* h = h_ + row * width_;
        const float share = groups_.base_share(row);
        if (share != 0) kernels::SiluMul(Inline(), gate_ + row * width_, up_ + row * width_, width_, h);
        if (share == 1) continue;
        for (int64_t i = 0; i < width_; ++i) h[i] = share == 0 ? 0.0f : h[i] * share;
      }
    });
  }

  // work(block, pool for what is inside the block)
  template <typename Work>
  void ForBlocks(int32_t slot, const Work& work) {
    const int64_t most = std::clamp<int64_t>(kBlockFloats / width_, 4, 32);
    blocks_.clear();
    for (const RowGroup& group : groups_.all()) {
      if (group.slot != slot) continue;
      const auto size = static_cast<int64_t>(group.rows.size());
      for (int64_t begin = 0; begin < size; begin += most) blocks_.push_back({&group, begin, std::min(begin + most, size)});
    }
    if (blocks_.size() == 1) return work(blocks_.front(), pool_);
    pool_.ParallelFor(static_cast<int64_t>(blocks_.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) work(blocks_[i], Inline());
    });
  }

  // The block's rows of a [rows, width] matrix next to each other: where they lie, or copied.
  static float* Gather(const Block& block, float* from, int64_t width, Scratch* scratch) {
    const std::span<const int64_t> rows = block.group->rows;
    if (block.contiguous()) return from + rows[block.begin] * width;
    float* to = scratch->Floats(block.rows() * width);
    for (int64_t i = block.begin; i < block.end; ++i) Copy(from + rows[i] * width, width, to + (i - block.begin) * width);
    return to;
  }

  // The block's rows of gate or up, free to be overwritten.
  float* Own(const Block& block, float* base, Scratch* scratch) const {
    if (block.group->last) return base + block.group->rows[block.begin] * width_;
    float* to = scratch->Floats(block.rows() * width_);
    for (int64_t i = block.begin; i < block.end; ++i) Copy(base + block.group->rows[i] * width_, width_, to + (i - block.begin) * width_);
    return to;
  }

  // to += s B A x
  void Project(const Block& block, const std::optional<ExpertLora>& lora, const float* x, float* to) const {
    if (!lora) return;
    thread_local Scratch scratch;
    float* z = scratch.Floats(block.rows() * lora->rank());
    lora->Shrink(Inline(), x, block.rows(), hidden_, z);
    for (int64_t i = 0; i < block.rows() * lora->rank(); ++i) z[i] *= lora->scale();
    lora->Expand(Inline(), z, block.rows(), to, width_, /*accumulate=*/true);
  }

  // h += w h_e; z = w s A h_e of the down projection, for AddDown.
  void AddHidden(const Block& block, kernels::ThreadPool& inside) {
    thread_local Scratch gathered, gate_scratch, up_scratch;
    const RowGroup& group = *block.group;
    const float* x = Gather(block, const_cast<float*>(x_), hidden_, &gathered);
    float* gate = Own(block, gate_, &gate_scratch);
    float* up = Own(block, up_, &up_scratch);
    inside.ParallelFor(2, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) Project(block, i == 0 ? group.expert->gate : group.expert->up, x, i == 0 ? gate : up);
    });
    float* h_e = group.alone ? h_ + group.rows[block.begin] * width_ : gate;
    kernels::SiluMul(Inline(), gate, up, block.rows() * width_, h_e);
    for (int64_t i = block.begin; i < block.end && !group.alone; ++i) {
      AddScaled(h_e + (i - block.begin) * width_, group.weights[i], width_, h_ + group.rows[i] * width_);
    }
    if (!group.expert->down) return;
    const ExpertLora& down = *group.expert->down;
    float* z = DownZ(block);
    down.Shrink(Inline(), h_e, block.rows(), width_, z);
    for (int64_t i = block.begin; i < block.end; ++i) {
      const float factor = group.weights[i] * down.scale();
      for (int64_t r = 0; r < down.rank(); ++r) *z++ *= factor;
    }
  }

  // y += B z
  void AddDown(const Block& block, float* y) {
    const RowGroup& group = *block.group;
    if (!group.expert->down) return;
    thread_local Scratch scratch;
    float* rows = Gather(block, y, hidden_, &scratch);
    group.expert->down->Expand(Inline(), DownZ(block), block.rows(), rows, hidden_, /*accumulate=*/true);
    if (block.contiguous()) return;
    for (int64_t i = block.begin; i < block.end; ++i) Copy(rows + (i - block.begin) * hidden_, hidden_, y + group.rows[i] * hidden_);
  }

  float* DownZ(const Block& block) const { return z_ + (block.group->first + block.begin) * down_rank_; }

  static constexpr int64_t kBlockFloats = 64 * 1024;  // of gate, and as many of up: half a megabyte, in the second-level cache
  static constexpr int64_t kGrainFloats = 8192;

  kernels::ThreadPool& pool_;
  const FeedForward& ffn_;
  const RowGroups& groups_;
  const float* x_;
  const int64_t rows_, hidden_, width_;
  int32_t slots_ = 0;
  int64_t down_rank_ = 0;
  float *gate_, *up_, *h_;  // [rows, width]
  float* z_;                // [assignments, down_rank_]
  std::vector<Block> blocks_;
};

// to[i] = from[order[i]], or the other way round.
enum class Direction { kIntoOrder, kOutOfOrder };
void Permute(kernels::ThreadPool& pool, const std::vector<int64_t>& order, Direction direction, const float* from, int64_t width,
             float* to) {
  pool.ParallelFor(static_cast<int64_t>(order.size()), 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t source = direction == Direction::kIntoOrder ? order[i] : i, target = direction == Direction::kIntoOrder ? i : order[i];
      Copy(from + source * width, width, to + target * width);
    }
  });
}

}  // namespace

at::Tensor MixtureFast(const Compute& compute, const at::Tensor& x, const FeedForward& ffn, const ExpertBank& bank, int32_t layer,
                       const LayerRoutes& routes, MixtureAlgorithm algorithm) {
  const at::Tensor input = x.contiguous();
  if (algorithm != MixtureAlgorithm::kSingleDown) {
    return MixtureBaseline(compute, input, ffn, RowGroups(bank, layer, routes, RowGroups::Order::kAsGiven), algorithm);
  }
  const RowGroups groups(bank, layer, routes, RowGroups::Order::kSorted);
  kernels::ThreadPool& pool = *compute.pool;
  const int64_t rows = input.size(0), hidden = ffn.gate.in_features();
  at::Tensor y = at::empty({rows, hidden}, at::kFloat);
  const float* from = input.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  if (groups.order().empty()) {
    SingleDown(pool, from, rows, ffn, groups).Run(to);
    return y;
  }
  thread_local Scratch x_scratch, y_scratch;
  float* ordered_x = x_scratch.Floats(rows * hidden);
  float* ordered_y = y_scratch.Floats(rows * hidden);
  Permute(pool, groups.order(), Direction::kIntoOrder, from, hidden, ordered_x);
  SingleDown(pool, ordered_x, rows, ffn, groups).Run(ordered_y);
  Permute(pool, groups.order(), Direction::kOutOfOrder, ordered_y, hidden, to);
  return y;
}

}  // namespace switchyard
