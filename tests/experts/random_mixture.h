// A random feed-forward block with a bank of random experts, in every backend from the same numbers, and the mixture's formula in double.
#pragma once

#include <ATen/ATen.h>

#include <random>
#include <vector>

#include "engine/experts/mixture.h"

namespace switchyard {

struct MixtureShape {
  int64_t hidden = 37, width = 53;
  int experts = 4;       // LoRA experts; zero experts come on top
  int zeros = 1;         // at the end
  int max_rank = 9;      // each projection of each expert draws its own
  double missing = 0.2;  // chance that a projection has no adapter
};

class RandomMixture {
 public:
  RandomMixture(const MixtureShape& shape, uint32_t seed);

  struct Side {
    FeedForward ffn;
    ExpertBank bank;
  };
  // `compute` must outlive the result.
  Side On(const Compute& compute) const;

  int experts() const { return static_cast<int>(loras_.size()); }  // zero experts included
  at::Tensor Rows(int64_t rows);                                   // random x, f32
  // Distinct experts in each row, slots unused now and then, weights summing to at most 1.
  LayerRoutes Routes(int64_t rows, int32_t k);

  // y in double. `rounded`: weights and x as bf16 holds them.
  at::Tensor Oracle(const at::Tensor& x, const LayerRoutes& routes, bool rounded = false) const;
  // The same routes through weights with expert `e` merged, everything in double.
  at::Tensor Merged(const at::Tensor& x, int e) const;

 private:
  struct Lora {
    at::Tensor a, b;  // undefined: no adapter
    float scale = 0;
  };
  struct ExpertLoras {
    Lora gate, up, down;
  };
  Lora RandomLora(int64_t in, int64_t out);
  at::Tensor Block(const at::Tensor& x, const ExpertLoras& loras, bool rounded) const;

  const MixtureShape shape_;
  std::mt19937 random_;
  at::Tensor gate_, up_, down_;
  std::vector<ExpertLoras> loras_;  // zero experts have none
};

// All rows to one expert with one weight (k = 1).
LayerRoutes AllTo(int64_t rows, int16_t expert, float weight = 1.0f);
// Rows `rows` of `routes`.
LayerRoutes Pick(const LayerRoutes& routes, const std::vector<int64_t>& rows);
double RelativeError(const at::Tensor& got, const at::Tensor& want);  // L2

}  // namespace switchyard
