#include <algorithm>

#include "engine/kernels/aligned_buffer.h"
#include "engine/kernels/kernel_table.h"
#include "engine/kernels/kernels.h"

namespace switchyard::kernels {

namespace {

// Queries (rows times heads of a group) that share one gathering of keys and values.
constexpr int64_t kQueriesPerTask = 96;

struct Task {
  const AttentionSegment* segment;
  int64_t kv_head;
  int64_t row_begin, row_end;
};

// Late rows see most keys, so they go first: the small tasks are left to fill the end.
std::vector<Task> SplitSegments(const std::vector<AttentionSegment>& segments, int64_t kv_heads, int64_t rows_per_task) {
  std::vector<Task> tasks;
  for (const AttentionSegment& segment : segments) {
    for (int64_t end = segment.row_end; end > segment.row_begin; end -= rows_per_task) {
      for (int64_t head = 0; head < kv_heads; ++head)
        tasks.push_back({&segment, head, std::max(segment.row_begin, end - rows_per_task), end});
    }
  }
  return tasks;
}

}  // namespace

void PagedAttention(ThreadPool& pool, const float* q, int64_t q_row_stride, const void* k_pool, const void* v_pool, WeightType kv_type,
                    int64_t heads, int64_t kv_heads, int64_t dim, float scale, const std::vector<AttentionSegment>& segments, float* out,
                    int64_t out_row_stride) {
  if (kv_heads <= 0 || dim <= 0) return;
  const KernelTable& table = CurrentTable();
  const int64_t group = heads / kv_heads;
  const int64_t element = kv_type == WeightType::kBF16 ? sizeof(bf16) : sizeof(float);
  const std::vector<Task> tasks = SplitSegments(segments, kv_heads, std::max<int64_t>(1, kQueriesPerTask / group));
  pool.ParallelFor(static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end) {
    thread_local AlignedBuffer scratch;
    for (int64_t i = begin; i < end; ++i) {
      const Task& task = tasks[i];
      AttentionArgs args;
      args.q = q + task.row_begin * q_row_stride + task.kv_head * group * dim;
      args.q_stride = q_row_stride;
      args.out = out + task.row_begin * out_row_stride + task.kv_head * group * dim;
      args.out_stride = out_row_stride;
      args.rows = task.row_end - task.row_begin;
      args.group = group;
      args.dim = dim;
      args.first_position = task.segment->length - (task.segment->row_end - task.row_begin);
      args.slots = task.segment->slots;
      args.k_pool = static_cast<const char*>(k_pool) + task.kv_head * dim * element;
      args.v_pool = static_cast<const char*>(v_pool) + task.kv_head * dim * element;
      args.slot_stride = kv_heads * dim;
      args.bf16_pool = kv_type == WeightType::kBF16;
      args.scale = scale;
      const int64_t floats = table.attention_scratch_floats(args.rows * group, dim);
      table.attention(args, static_cast<float*>(scratch.Resize(static_cast<size_t>(floats) * sizeof(float))));
    }
  });
}

}  // namespace switchyard::kernels
