// A LoRA expert while it is trained, or held still while something else is.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/artifact/peft_adapter.h"
#include "engine/base/status.h"
#include "trainer/nn/packed_linear.h"
#include "trainer/nn/parameter.h"

namespace switchyard::trainer {

// delta = scale * B A. Used on the training thread only.
class LoraMatrix {
 public:
  // a [rank, in], b [out, rank] f32.
  LoraMatrix(const TrainCompute& compute, const std::string& name, const at::Tensor& a, const at::Tensor& b, float scale, bool trainable);

  int64_t rank() const { return a_.value.size(0); }
  float scale() const { return scale_; }
  bool trainable() const { return trainable_; }
  const Parameter& a() const { return a_; }
  const Parameter& b() const { return b_; }

  // The packed copies that products use follow the values only here: after every optimiser step, and after values were set.
  void Repack();

  // z [rows, rank] = A x;  y [rows, out] += scale B z
  void Shrink(const float* x, int64_t rows, float* z) const;
  void Expand(const float* z, int64_t rows, float* y) const;
  // scale A x and scale Bᵀ dy, packed with rows row_bytes apart.
  PackedRows PackShrunk(const PackedRows& x, int64_t row_bytes) const;
  PackedRows PackShrunkBack(const PackedRows& dy, int64_t row_bytes) const;
  // Of some packed rows, on the calling thread: z [rows, rank] = A x;  e [rows, rank] = scale Bᵀ dy.
  void ShrinkTile(const void* x, int64_t rows, float* z) const;
  void ShrinkBackTile(const void* dy, int64_t rows, float* e) const;
  // Of packed rows of rank, on the calling thread, row i to row places[i]: y [., out] += B z;  dx [., in] += Aᵀ e.
  void AddDelta(const void* z, int64_t rows, const int64_t* places, float* y) const;
  void AddDeltaBack(const void* e, int64_t rows, const int64_t* places, float* dx) const;
  // B [out, rank] and Aᵀ [in, rank] as the kernels take them.
  const kernels::PackedMatrix& packed_b() const { return packed_b_->forward(); }
  const kernels::PackedMatrix& packed_a_transposed() const { return packed_a_->backward(); }
  // With e [rows, rank] = scale Bᵀ dy:  dx [rows, in] += A^T e;  grads: A += eᵀ x, B += scale dyᵀ z.
  void ShrinkBack(const float* dy, int64_t rows, float* e) const;
  void ExpandBack(const float* e, int64_t rows, float* dx) const;
  void AddGradients(const float* x, const float* z, const float* dy, const float* e, int64_t rows);

 private:
  const TrainCompute* compute_;
  Parameter a_, b_;
  float scale_;
  bool trainable_;
  std::unique_ptr<PackedLinear> packed_a_, packed_b_;
};

// One expert in one layer; all absent for the zero expert.
struct LoraBlock {
  std::optional<LoraMatrix> gate, up, down;
  bool empty() const { return !gate && !up && !down; }
  bool trains() const { return (gate && gate->trainable()) || (up && up->trainable()) || (down && down->trainable()); }
};

struct LoraExpert {
  std::string name;
  bool is_zero = false;
  std::string generation;         // of a frozen one, as it was read; "zero" for the zero expert
  std::string directory;          // a frozen one's
  std::vector<LoraBlock> layers;  // [L]

  std::vector<Parameter> Parameters() const;  // trainable ones
  void Repack();
};

struct LoraOptions {
  int32_t rank = 16;
  double alpha = 32;
  bool rslora = false;  // scale alpha / sqrt(rank) in place of alpha / rank
  double dropout = 0;   // of A's input, while training
  bool gate = true, up = true, down = true;
  // Layers [first_layer, last_layer] get matrices; last_layer < 0: up to the top. The others stay the base's.
  int32_t first_layer = 0, last_layer = -1;
};

// PEFT's own initialisation: A uniform in +-1/sqrt(in) (Kaiming with a = sqrt 5), B zero. Deterministic by seed.
LoraExpert NewLoraExpert(const TrainCompute& compute, const std::string& name, const ModelConfig& base, const LoraOptions& options,
                         uint64_t seed);
LoraExpert ZeroLoraExpert(const std::string& name, const ModelConfig& base);
// From a PEFT directory. Errors are those of ReadPeftAdapter and TensorFromView.
StatusOr<LoraExpert> ReadLoraExpert(const TrainCompute& compute, const std::string& name, const std::string& directory,
                                    const ModelConfig& base, bool trainable);
// A PEFT directory that transformers + PEFT loads: staged, then renamed. ALREADY_EXISTS when `directory` exists.
Status WriteLoraExpert(const LoraExpert& expert, const LoraOptions& options, const std::string& base_name, const std::string& directory);

}  // namespace switchyard::trainer
