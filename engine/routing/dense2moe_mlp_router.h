// Kind "dense2moe_mlp": logits = W2 relu(W1 x + b1) + b2, Dense2MoE's router (its dropout is a training matter).
// Tensors: layers.{l}.router.fc1.weight [R, H], fc1.bias [R], fc2.weight [E, R], fc2.bias [E]; R is the file's (H/2 in Dense2MoE).
//
// Sums, the second product and the softmax are fp32. W1 is large: at R = H/2 in fp32 it would be a tenth of a small model's layer in
// bytes, all of them read at every decoded token. So on the fast backend W1 stays bf16 where the file has it in bf16 and the base is bf16
// too. The kernel then rounds x to bf16, which is what x is in Dense2MoE itself. Everything else is fp32.
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

StatusOr<std::unique_ptr<Router>> LoadDense2MoeMlpRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
