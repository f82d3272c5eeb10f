// The single-down mixture on our kernels.
//
// Rows are grouped by (slot, expert) and each group is cut into blocks that fit the cache; a block's rank-r products are small matrix products, so A
// and B are read once a block and not once a row. Slots follow one another, since a row's sum runs over its slots in order; the blocks of one slot
// touch different rows and run at the same time. Every step is one of the kernels, row by row the same bits whatever the block.
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
  SingleDown(const Compute& compute, const at::Tensor& x, const FeedForward& ffn, const RowGroups& groups)
      : pool_(*compute.pool), ffn_(ffn), groups_(groups), x_(x.const_data_ptr<float>()), rows_(x.size(0)), hidden_(x.size(1)),
        width_(ffn.gate.out_features()) {
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
    for (int32_t slot = 0; slot < slots_; ++slot) ForBlocks(slot, [this](const Block& block) { AddHidden(block); });
    ffn_.down.ForwardInto(h_, rows_, width_, y, hidden_, /*accumulate=*/false);
    if (down_rank_ == 0) return;
    for (int32_t slot = 0; slot < slots_; ++slot) ForBlocks(slot, [&](const Block& block) { AddDown(block, y); });
  }

 private:
  // h = (1 - sum w) h_0
  void BaseHidden() {
    if (slots_ == 0) return kernels::SiluMul(pool_, gate_, up_, rows_ * width_, h_);
    pool_.ParallelFor(rows_, std::max<int64_t>(1, kGrainFloats / width_), [this](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        float* h = h_ + row * width_;
        const float share = groups_.base_share(row);
        if (share != 0) kernels::SiluMul(Inline(), gate_ + row * width_, up_ + row * width_, width_, h);
        if (share == 1) continue;
        if (share == 0) {
          std::fill_n(h, width_, 0.0f);
        } else {
          for (int64_t i = 0; i < width_; ++i) h[i] *= share;
        }
      }
    });
  }

  template <typename Work>
  void ForBlocks(int32_t slot, const Work& work) {
    const int64_t most = std::clamp<int64_t>(kBlockFloats / width_, 4, 32);
    blocks_.clear();
    for (const RowGroup& group : groups_.all()) {
      if (group.slot != slot) continue;
      const auto size = static_cast<int64_t>(group.rows.size());
      for (int64_t begin = 0; begin < size; begin += most) blocks_.push_back({&group, begin, std::min(begin + most, size)});
    }
    pool_.ParallelFor(static_cast<int64_t>(blocks_.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) work(blocks_[i]);
    });
  }

  // Rows of `from` named by the block, next to each other; the row itself when there is one.
  static const float* Gather(const Block& block, const float* from, int64_t width, Scratch* scratch) {
    const std::span<const int64_t> rows = block.group->rows;
    if (block.rows() == 1) return from + rows[block.begin] * width;
    float* to = scratch->Floats(block.rows() * width);
    for (int64_t i = block.begin; i < block.end; ++i) Copy(from + rows[i] * width, width, to + (i - block.begin) * width);
    return to;
  }

  // to = rows of the base product + s B A x
  void Project(const Block& block, const std::optional<ExpertLora>& lora, const float* x, const float* base, float* to) const {
    for (int64_t i = block.begin; i < block.end; ++i) Copy(base + block.group->rows[i] * width_, width_, to + (i - block.begin) * width_);
    if (!lora) return;
    thread_local Scratch scratch;
    float* z = scratch.Floats(block.rows() * lora->rank());
    lora->Shrink(Inline(), x, block.rows(), hidden_, z);
    for (int64_t i = 0; i < block.rows() * lora->rank(); ++i) z[i] *= lora->scale();
    lora->Expand(Inline(), z, block.rows(), to, width_, /*accumulate=*/true);
  }

  // h += w h_e; z = w s A h_e of the down projection, for AddDown.
  void AddHidden(const Block& block) {
    thread_local Scratch gathered, scratch;
    const RowGroup& group = *block.group;
    const float* x = Gather(block, x_, hidden_, &gathered);
    float* h_e = scratch.Floats(2 * block.rows() * width_);
    float* up = h_e + block.rows() * width_;
    Project(block, group.expert->gate, x, gate_, h_e);
    Project(block, group.expert->up, x, up_, up);
    kernels::SiluMul(Inline(), h_e, up, block.rows() * width_, h_e);
    for (int64_t i = block.begin; i < block.end; ++i) {
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
    const float* z = DownZ(block);
    float* rows = const_cast<float*>(Gather(block, y, hidden_, &scratch));
    group.expert->down->Expand(Inline(), z, block.rows(), rows, hidden_, /*accumulate=*/true);
    if (block.rows() == 1) return;
    for (int64_t i = block.begin; i < block.end; ++i) Copy(rows + (i - block.begin) * hidden_, hidden_, y + group.rows[i] * hidden_);
  }

  float* DownZ(const Block& block) const { return z_ + (block.group->first + block.begin) * down_rank_; }

  static constexpr int64_t kBlockFloats = 64 * 1024;   // of gate, and as many of up: half a megabyte, in the second-level cache
  static constexpr int64_t kGrainFloats = 8192;

  kernels::ThreadPool& pool_;
  const FeedForward& ffn_;
  const RowGroups& groups_;
  const float* x_;
  const int64_t rows_, hidden_, width_;
  int32_t slots_ = 0;
  int64_t down_rank_ = 0;
  float *gate_, *up_, *h_;   // [rows, width]
  float* z_;                 // [assignments, down_rank_]
  std::vector<Block> blocks_;
};

}  // namespace

at::Tensor MixtureFast(const Compute& compute, const at::Tensor& x, const FeedForward& ffn, const ExpertBank& bank, int32_t layer,
                       const LayerRoutes& routes, MixtureAlgorithm algorithm) {
  const at::Tensor rows = x.contiguous();
  const RowGroups groups(bank, layer, routes);
  if (algorithm != MixtureAlgorithm::kSingleDown) return MixtureBaseline(compute, rows, ffn, groups, algorithm);
  at::Tensor y = at::empty({rows.size(0), ffn.down.out_features()}, at::kFloat);
  SingleDown(compute, rows, ffn, groups).Run(y.mutable_data_ptr<float>());
  return y;
}

}  // namespace switchyard
