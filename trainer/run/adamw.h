// AdamW (Loshchilov & Hutter 2019, algorithm 2) in f32, with clipping by the global norm, and the learning rate's course.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "trainer/nn/parameter.h"

namespace switchyard::trainer {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.98, epsilon = 1e-8;
  double weight_decay = 0.01;
  double clip = 1.0;  // of the gradient's global norm; 0: never
};

// Thread-compatible. Shares the parameters' tensors.
class AdamW {
 public:
  AdamW(std::vector<Parameter> parameters, const AdamWOptions& options);

  void ZeroGradients();
  // One step; returns the gradient's norm before clipping. A norm that is not finite leaves everything as it was.
  double Step(double learning_rate);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  // For checkpoints: moments in the order of the parameters.
  std::vector<at::Tensor>& first_moments() { return first_; }
  std::vector<at::Tensor>& second_moments() { return second_; }
  // Forgets the moments, as when the loss becomes another one.
  void Reset();
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

 private:
  const AdamWOptions options_;
  std::vector<Parameter> parameters_;
  std::vector<at::Tensor> first_, second_;
  int64_t steps_ = 0;
};

// Linear from 0 over the warm-up, then half a cosine down to final_share of the peak.
struct Schedule {
  double peak = 1e-3;
  double warmup_share = 0.1;  // of all steps
  double final_share = 0.0;
  double At(int64_t step, int64_t total_steps) const;  // step from 0
};

}  // namespace switchyard::trainer
