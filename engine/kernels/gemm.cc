#include <algorithm>
#include <cstring>

#include "engine/kernels/aligned_buffer.h"
#include "engine/kernels/expert_backward.h"
#include "engine/kernels/kernel_table.h"
#include "engine/kernels/kernels.h"

namespace switchyard::kernels {

struct PackedMatrix::Impl {
  int64_t n = 0, k = 0;
  WeightType type = WeightType::kF32;
  const KernelTable* table = nullptr;  // the layout below is this table's
  int64_t steps = 0;                   // k, or pairs of it
  int64_t panels = 0;
  int64_t panel_stride = 0;  // elements
  int64_t bytes = 0;
  AlignedBuffer data;
};

namespace {

// w[n, k] -> [panel][step][lane][k within step], zero where n or k runs out.
template <int kPerStep, typename T>
void Pack(const T* w, int64_t row_stride, PackedMatrix::Impl& impl) {
  const int64_t lanes = impl.table->lanes;
  impl.steps = (impl.k + kPerStep - 1) / kPerStep;
  impl.panels = (impl.n + lanes - 1) / lanes;
  impl.panel_stride = impl.steps * lanes * kPerStep;
  impl.bytes = impl.panels * impl.panel_stride * static_cast<int64_t>(sizeof(T));
  T* out = static_cast<T*>(impl.data.Resize(static_cast<size_t>(std::max<int64_t>(impl.bytes, 1))));
  std::memset(static_cast<void*>(out), 0, static_cast<size_t>(impl.bytes));
  for (int64_t row = 0; row < impl.n; ++row) {
    T* panel = out + row / lanes * impl.panel_stride + row % lanes * kPerStep;
    const T* from = w + row * row_stride;
    for (int64_t i = 0; i < impl.k; ++i) panel[i / kPerStep * lanes * kPerStep + i % kPerStep] = from[i];
  }
}

constexpr int64_t kRowsPerTask = 96;            // of a many-row product
constexpr int64_t kTaskFlops = 1 << 18;         // below this a task is not worth handing to another thread
constexpr int64_t kParallelRounding = 1 << 15;  // elements of x

// Groups of panels times chunks of rows, in the order that keeps a group's weights in cache over its row chunks.
struct Partition {
  int64_t group_panels, groups, row_chunk, row_chunks;
};

Partition Split(int64_t m, int64_t panels, int threads) {
  Partition p;
  p.group_panels = 4;
  p.groups = (panels + p.group_panels - 1) / p.group_panels;
  // Cut the rows only where the columns alone leave threads idle.
  p.row_chunk = p.groups >= 4 * threads ? m : std::min(m, kRowsPerTask);
  p.row_chunks = (m + p.row_chunk - 1) / p.row_chunk;
  return p;
}

// Every table counts its packed x in units of this many bytes: pairs of bf16, or floats.
constexpr int64_t kXUnit = 4;

GemmArgs Arguments(const PackedMatrix::Impl& impl, const void* x, int64_t x_row_bytes, float* y, int64_t y_stride, bool accumulate) {
  GemmArgs args;
  args.x = x;
  args.x_stride = x_row_bytes / kXUnit;
  args.w = impl.data.data();
  args.panel_stride = impl.panel_stride;
  args.steps = impl.steps;
  args.y = y;
  args.y_stride = y_stride;
  args.n = impl.n;
  args.accumulate = accumulate;
  return args;
}

void Run(ThreadPool& pool, const PackedMatrix::Impl& impl, const GemmArgs& args, int64_t m) {
  const KernelTable& table = *impl.table;
  const auto kernel = impl.type == WeightType::kBF16 ? table.gemm_bf16 : table.gemm_f32;
  const Partition split = Split(m, impl.panels, pool.threads());
  const int64_t task_flops = 2 * split.row_chunk * impl.k * split.group_panels * table.lanes;
  const int64_t grain = std::max<int64_t>(1, kTaskFlops / std::max<int64_t>(task_flops, 1));
  pool.ParallelFor(split.groups * split.row_chunks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t panel = task / split.row_chunks * split.group_panels, row = task % split.row_chunks * split.row_chunk;
      kernel(args, row, std::min(row + split.row_chunk, m), panel, std::min(panel + split.group_panels, impl.panels));
    }
  });
}

}  // namespace

PackedMatrix::PackedMatrix() : impl_(std::make_unique<Impl>()) {}
PackedMatrix::~PackedMatrix() = default;
int64_t PackedMatrix::n() const { return impl_->n; }
int64_t PackedMatrix::k() const { return impl_->k; }
WeightType PackedMatrix::type() const { return impl_->type; }
int64_t PackedMatrix::bytes() const { return impl_->bytes; }

std::unique_ptr<PackedMatrix> PackedMatrix::PackBF16(const bf16* w, int64_t n, int64_t k, int64_t row_stride) {
  std::unique_ptr<PackedMatrix> packed(new PackedMatrix);
  Impl& impl = *packed->impl_;
  impl.n = n;
  impl.k = k;
  impl.type = WeightType::kBF16;
  impl.table = &CurrentTable();
  Pack<2>(w, row_stride, impl);
  return packed;
}

std::unique_ptr<PackedMatrix> PackedMatrix::PackF32(const float* w, int64_t n, int64_t k, int64_t row_stride) {
  std::unique_ptr<PackedMatrix> packed(new PackedMatrix);
  Impl& impl = *packed->impl_;
  impl.n = n;
  impl.k = k;
  impl.type = WeightType::kF32;
  impl.table = &CurrentTable();
  Pack<1>(w, row_stride, impl);
  return packed;
}

int64_t PackedRowBytes(WeightType type, int64_t k) {
  return type == WeightType::kBF16 ? (k + 1) / 2 * 2 * CurrentTable().x_bytes : k * static_cast<int64_t>(sizeof(float));
}

void PackRows(ThreadPool& pool, const float* x, int64_t rows, int64_t k, int64_t x_stride, WeightType type, void* packed) {
  if (rows <= 0 || k <= 0) return;
  const KernelTable& table = CurrentTable();
  const int64_t row_bytes = PackedRowBytes(type, k);
  char* out = static_cast<char*>(packed);
  const auto some = [&](int64_t begin, int64_t end) {
    if (type == WeightType::kBF16) {
      return table.round_x(x + begin * x_stride, end - begin, k, x_stride, out + begin * row_bytes, row_bytes / kXUnit);
    }
    for (int64_t row = begin; row < end; ++row) std::memcpy(out + row * row_bytes, x + row * x_stride, static_cast<size_t>(row_bytes));
  };
  if (rows * k < kParallelRounding) {
    some(0, rows);
  } else {
    pool.ParallelFor(rows, std::max<int64_t>(1, kParallelRounding / 4 / k), some);
  }
}

void Gemm(ThreadPool& pool, const float* x, int64_t m, int64_t x_stride, const PackedMatrix& w, const float* bias, float* y,
          int64_t y_stride, bool accumulate) {
  const PackedMatrix::Impl& impl = w.impl();
  if (m <= 0 || impl.n <= 0) return;
  if (impl.type == WeightType::kBF16) {
    thread_local AlignedBuffer rounded;
    void* packed = rounded.Resize(static_cast<size_t>(m * PackedRowBytes(impl.type, impl.k)));
    PackRows(pool, x, m, impl.k, x_stride, impl.type, packed);
    return GemmPacked(pool, packed, m, w, bias, y, y_stride, accumulate);
  }
  GemmArgs args = Arguments(impl, x, x_stride * static_cast<int64_t>(sizeof(float)), y, y_stride, accumulate);
  args.bias = bias;
  Run(pool, impl, args, m);
}

void GemmPacked(ThreadPool& pool, const void* x, int64_t m, const PackedMatrix& w, const float* bias, float* y, int64_t y_stride,
                bool accumulate) {
  const PackedMatrix::Impl& impl = w.impl();
  if (m <= 0 || impl.n <= 0) return;
  GemmArgs args = Arguments(impl, x, PackedRowBytes(impl.type, impl.k), y, y_stride, accumulate);
  args.bias = bias;
  Run(pool, impl, args, m);
}

void GemmOfPart(const void* x, int64_t m, const PackedMatrix& w, const GemmPart& part, float* y, int64_t y_stride, bool accumulate,
                const int64_t* y_rows) {
  const PackedMatrix::Impl& impl = w.impl();
  if (m <= 0 || part.column_begin >= part.column_end) return;
  const KernelTable& table = *impl.table;
  const int64_t k_per_step = impl.type == WeightType::kBF16 ? 2 : 1;
  GemmArgs args = Arguments(impl, x, PackedRowBytes(impl.type, part.k_end - part.k_begin), y, y_stride, accumulate);
  const int64_t element = impl.type == WeightType::kBF16 ? sizeof(bf16) : sizeof(float);
  args.w = static_cast<const char*>(args.w) + part.k_begin * table.lanes * element;
  args.steps = (part.k_end - part.k_begin + k_per_step - 1) / k_per_step;
  args.y_rows = y_rows;
  const auto kernel = impl.type == WeightType::kBF16 ? table.gemm_bf16 : table.gemm_f32;
  kernel(args, 0, m, part.column_begin / table.lanes, (part.column_end + table.lanes - 1) / table.lanes);
}

namespace {

HiddenLora LoraFrom(const PackedMatrix* b, const void* z, int64_t z_bytes, int64_t column_begin) {
  if (b == nullptr) return {};
  const PackedMatrix::Impl& impl = b->impl();
  const int64_t element = impl.type == WeightType::kBF16 ? sizeof(bf16) : sizeof(float);
  const void* w = static_cast<const char*>(impl.data.data()) + column_begin / impl.table->lanes * impl.panel_stride * element;
  return {z, z_bytes / kXUnit, w, impl.panel_stride, impl.steps};
}

}  // namespace

void ExpertHidden(const ExpertHiddenArgs& args, int64_t column_begin, int64_t column_end) {
  const KernelTable& table = CurrentTable();
  HiddenArgs inner{};
  inner.gate = args.gate + column_begin;
  inner.up = args.up + column_begin;
  inner.h = args.h + column_begin;
  inner.stride = args.stride;
  inner.count = args.count;
  inner.columns = column_end - column_begin;
  inner.rows = args.rows;
  inner.weights = args.weights;
  inner.first = args.first;
  inner.gate_lora = LoraFrom(args.gate_b, args.gate_z, args.z_bytes, column_begin);
  inner.up_lora = LoraFrom(args.up_b, args.up_z, args.z_bytes, column_begin);
  inner.hidden = static_cast<char*>(args.hidden);
  inner.hidden_bytes = PackedRowBytes(args.type, inner.columns);
  (args.type == WeightType::kBF16 ? table.hidden_bf16 : table.hidden_f32)(inner);
}

void ExpertBackward(const ExpertBackwardArgs& args, int64_t columns) {
  const KernelTable& table = CurrentTable();
  HiddenBackArgs inner{};
  inner.gate = args.gate;
  inner.up = args.up;
  inner.back = args.back;
  inner.stride = args.stride;
  inner.count = args.count;
  inner.columns = columns;
  inner.rows = args.rows;
  inner.gate_lora = LoraFrom(args.gate_b, args.gate_z, args.z_bytes, 0);
  inner.up_lora = LoraFrom(args.up_b, args.up_z, args.z_bytes, 0);
  inner.back_lora = LoraFrom(args.down_a, args.down_z, args.z_bytes, 0);
  inner.dots = args.dots;
  inner.weights = args.weights;
  inner.first = args.first;
  inner.dgate = args.dgate;
  inner.dup = args.dup;
  inner.own_dgate = static_cast<char*>(args.own_dgate);
  inner.own_dup = static_cast<char*>(args.own_dup);
  inner.own_bytes = PackedRowBytes(args.type, columns);
  (args.type == WeightType::kBF16 ? table.hidden_back_bf16 : table.hidden_back_f32)(inner);
}

}  // namespace switchyard::kernels
