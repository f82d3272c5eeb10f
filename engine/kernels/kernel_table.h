// The inner kernels of one instruction set, behind plain function pointers. The drivers in gemm.cc, attention.cc and elementwise.cc split
// work over the pool and call the current table; table_*.cc fill one each, compiled with that instruction set's flags. Private to this
// room.
#pragma once

#include <cstdint>

#include "engine/kernels/kernels.h"

namespace switchyard::kernels {

// Rows of x against panels of a packed weight. A panel is `lanes` neighbouring output columns, all k steps of it together: [steps][lanes][k
// per step].
struct GemmArgs {
  const void* x = nullptr;  // as gemm_x_* wrote it, or the caller's floats for f32 weights
  int64_t x_stride = 0;     // elements of x
  const void* w = nullptr;
  int64_t panel_stride = 0;     // elements of w between panels
  int64_t steps = 0;            // along k: pairs for bf16 weights
  const float* bias = nullptr;  // [n] or null
  float* y = nullptr;
  int64_t y_stride = 0;
  int64_t n = 0;  // columns of y
  bool accumulate = false;
  const int64_t* y_rows = nullptr;  // where each row of x goes; null: in order
};

// Query rows of one (segment, kv head): `rows` consecutive rows of the segment times the `group` query heads sharing the kv head.
struct AttentionArgs {
  const float* q = nullptr;  // first row, first query head of the group; heads lie `dim` apart
  int64_t q_stride = 0;
  float* out = nullptr;  // the same place of the output
  int64_t out_stride = 0;
  int64_t rows = 0, group = 0, dim = 0;
  int64_t first_position = 0;  // of the first row; row r sees keys 0 .. first_position + r
  const int32_t* slots = nullptr;
  const void* k_pool = nullptr;  // at the kv head: element (slot, d) is slot * slot_stride + d
  const void* v_pool = nullptr;
  int64_t slot_stride = 0;
  bool bf16_pool = false;
  float scale = 1.0f;
};

// See ExpertHidden in kernels.h; everything from the range's first column on.
struct HiddenLora {
  const void* z = nullptr;
  int64_t z_stride = 0;  // as GemmArgs::x_stride
  const void* w = nullptr;
  int64_t panel_stride = 0;
  int64_t steps = 0;  // 0: no adapter
};
struct HiddenArgs {
  const float* gate;
  const float* up;
  float* h;
  int64_t stride;
  int64_t count, columns;
  const int64_t* rows;
  const float* weights;
  const uint8_t* first;
  HiddenLora gate_lora, up_lora;
  char* hidden;          // or null
  int64_t hidden_bytes;  // of a row
};

// See ExpertBackward in expert_backward.h.
struct HiddenBackArgs {
  const void* gate;
  const void* up;
  const float* back;
  int64_t stride;
  int64_t count, columns;
  const int64_t* rows;
  HiddenLora gate_lora, up_lora, back_lora;
  float* dots;
  const float* weights;
  const uint8_t* first;
  float* dgate;
  float* dup;
  char* own_dgate;
  char* own_dup;
  int64_t own_bytes;  // of a row
};

struct KernelTable {
  int lanes;
  // Rounds m rows of k floats to bf16 and lays them out for gemm_bf16: `x_bytes` for each of k rounded up to pairs.
  void (*round_x)(const float* x, int64_t m, int64_t k, int64_t x_stride, void* packed, int64_t packed_stride);
  int x_bytes;
  void (*gemm_bf16)(const GemmArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end);
  void (*gemm_f32)(const GemmArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end);

  int64_t (*attention_scratch_floats)(int64_t rows, int64_t dim);  // rows times group
  void (*attention)(const AttentionArgs& args, float* scratch);    // scratch 64-byte aligned

  // One row of width n; residual gets delta added first when delta is not null.
  void (*rms_norm)(float* residual, const float* delta, const float* x, const float* weight, int64_t n, float eps, float* y);
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* y);
  void (*rope)(float* head, int64_t dim, const float* cos, const float* sin);
  LogSoftmaxStats (*row_stats)(const float* logits, int64_t n);
  void (*lora_shrink)(const float* x, int64_t k, const float* a, int64_t rank, float* z);
  void (*lora_expand_add)(const float* z, int64_t rank, const float* b_t, int64_t n, float scale, float* y);
  void (*hidden_bf16)(const HiddenArgs& args);
  void (*hidden_f32)(const HiddenArgs& args);
  void (*hidden_back_bf16)(const HiddenBackArgs& args);
  void (*hidden_back_f32)(const HiddenBackArgs& args);
  void (*f32_to_bf16)(const float* x, int64_t n, bf16* y);
  void (*bf16_to_f32)(const bf16* x, int64_t n, float* y);
};

const KernelTable& CurrentTable();

const KernelTable& ScalarTable();
const KernelTable& Avx2Table();
const KernelTable& Avx512Table();
const KernelTable& Avx512Bf16Table();

}  // namespace switchyard::kernels
