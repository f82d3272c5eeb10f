// The feed-forward block as a mixture of experts. For the selected set S of a row, weights w, scale s:
//
//   h_e = silu(Wg x + s Bg_e Ag_e x) * (Wu x + s Bu_e Au_e x)
//   y   = Wd [ (1 - sum w) h_0 + sum_e w_e h_e ] + sum_e w_e s Bd_e Ad_e h_e
//
// so one base gate/up product and one base down product whatever k is. Weight on the zero expert and missing mass go to h_0. A row whose
// routes name no expert but zero runs the base block's own arithmetic and nothing else: bit-identical to it.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "engine/base/status.h"
#include "engine/experts/expert_bank.h"
#include "engine/routing/layer_routes.h"
#include "engine/tensor/compute.h"
#include "engine/tensor/linear.h"

namespace switchyard {

// Base feed-forward weights of one layer. Owned by the model's layer.
struct FeedForward {
  Linear gate, up;  // [intermediate, hidden]
  Linear down;      // [hidden, intermediate]
};

enum class MixtureAlgorithm {
  kSingleDown,  // the algebra above
  kMixLora,     // shares gate/up, one base down product per selected expert (TUDB-Labs/MixLoRA's way): benchmarks only
  kNaive,       // a whole feed-forward block per selected expert: benchmarks only
};

// x [T, hidden] in activation_dtype -> y [T, hidden]. Plain ATen, row groups by expert, every expert's full block in the activation
// dtype: slow, obvious. y = F(x) + sum_e w_e (full_e(x) - F(x)), summed in f32; rows with only zero take F(x) as it is. Needs a reference
// Compute behind ffn and bank.
at::Tensor MixtureReference(const at::Tensor& x, const FeedForward& ffn, const ExpertBank& bank, int32_t layer, const LayerRoutes& routes);

// Our kernels (compute.backend == kFast): x [rows, hidden] f32 -> y [rows, hidden], both dense and apart. Groups rows by expert; only
// selected experts cost. With kSingleDown a row's result is the same bits whatever its neighbours, the number of rows and of threads; it is
// summed over the slots in their order. Keeps scratch of about 3 rows x intermediate floats on the calling thread.
void MixtureFast(const Compute& compute, const float* x, int64_t rows, const FeedForward& ffn, const ExpertBank& bank, int32_t layer,
                 const LayerRoutes& routes, MixtureAlgorithm algorithm, float* y);
// The same into a fresh tensor.
at::Tensor MixtureFast(const Compute& compute, const at::Tensor& x, const FeedForward& ffn, const ExpertBank& bank, int32_t layer,
                       const LayerRoutes& routes, MixtureAlgorithm algorithm);

}  // namespace switchyard
