// The table of one SIMD type. Included by table_*.cc only.
#pragma once

#include "engine/kernels/attention_impl.h"
#include "engine/kernels/elementwise_impl.h"
#include "engine/kernels/gemm_impl.h"
#include "engine/kernels/hidden_back_impl.h"
#include "engine/kernels/hidden_impl.h"
#include "engine/kernels/kernel_table.h"
#include "engine/kernels/lora_impl.h"

namespace switchyard::kernels {

template <typename S>
KernelTable MakeTable() {
  KernelTable table{};
  table.lanes = S::kLanes;
  table.round_x = RoundXToFloats<S>;
  table.x_bytes = sizeof(float);
  table.gemm_bf16 = GemmKernel<StepWidened<S>>::Run;
  table.gemm_f32 = GemmKernel<StepF32<S>>::Run;
  table.attention_scratch_floats = Attention<S>::ScratchFloats;
  table.attention = Attention<S>::Run;
  table.rms_norm = Elementwise<S>::RmsNorm;
  table.silu_mul = Elementwise<S>::SiluMul;
  table.rope = Elementwise<S>::Rope;
  table.row_stats = Elementwise<S>::RowStats;
  table.lora_shrink = Lora<S>::Shrink;
  table.lora_expand_add = Lora<S>::ExpandAdd;
  table.hidden_bf16 = HiddenKernel<StepWidened<S>>::Run;
  table.hidden_f32 = HiddenKernel<StepF32<S>>::Run;
  table.hidden_back_bf16 = HiddenBackKernel<StepWidened<S>>::Run;
  table.hidden_back_f32 = HiddenBackKernel<StepF32<S>>::Run;
  table.f32_to_bf16 = Elementwise<S>::F32ToBf16;
  table.bf16_to_f32 = Elementwise<S>::Bf16ToF32;
  return table;
}

}  // namespace switchyard::kernels
