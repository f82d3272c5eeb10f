// Where and how the LibTorch rooms compute: the backend, the dtype, the thread pool of the kernels.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"
#include "engine/kernels/thread_pool.h"

namespace switchyard {

// kReference: plain ATen ops in the model's dtype, on any device, one obvious line a formula: the oracle of everything else.
// kFast: our CPU kernels. Activations are f32, weights packed bf16 or f32; results are independent of the batch, bit for bit
// (engine/kernels/kernels.h).
enum class Backend { kReference, kFast };

// Shared by everything of one loaded base. Outlives it. Used only on the engine thread (loading included).
struct Compute {
  Backend backend = Backend::kReference;
  at::ScalarType weight_dtype = at::kFloat;  // kFloat or kBFloat16: of the base's matrices
  kernels::ThreadPool* pool = nullptr;       // kFast only
  // dtype of hidden states between layers: f32 when fast, weight_dtype in the reference.
  at::ScalarType activation_dtype() const { return backend == Backend::kFast ? at::kFloat : weight_dtype; }
};

// A tensor of our own (copied, contiguous, `dtype`) from a file's view. DATA_LOSS when a value is NaN or infinite.
StatusOr<at::Tensor> TensorFromView(const TensorView& view, at::ScalarType dtype);

}  // namespace switchyard
