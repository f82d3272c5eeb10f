// Which rows of a batch take an expert, and the dropout of what its adapters read there.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "engine/kernels/kernels.h"
#include "trainer/nn/loops.h"
#include "trainer/nn/mixture_block.h"

namespace switchyard::trainer {

inline constexpr int64_t kRowGrain = 8;

// splitmix64 of a counter: the same bit for the same place in every pass.
inline uint64_t Mix(uint64_t z) {
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
    float* to = scratch->mutable_data_ptr<float>();
    pool.ParallelFor(count_, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        std::memcpy(to + i * width, from + (*this)[i] * width, static_cast<size_t>(width) * sizeof(float));
    });
    return to;
  }
  float* Copy(kernels::ThreadPool& pool, const kernels::bf16* from, int64_t width, at::Tensor* scratch) const {
    *scratch = at::empty({count_, width}, at::kFloat);
    float* to = scratch->mutable_data_ptr<float>();
    pool.ParallelFor(count_, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) kernels::Bf16ToF32(from + (*this)[i] * width, width, to + i * width);
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
    float* to = scratch->mutable_data_ptr<float>();
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

}  // namespace switchyard::trainer
