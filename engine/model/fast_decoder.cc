// The same decoder on our CPU kernels: f32 activations in buffers that live from step to step, packed weights, paged attention.
#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "engine/kernels/kernels.h"
#include "engine/model/decoder.h"

namespace switchyard {

namespace {

// A [rows, width] f32 buffer that only grows.
class Buffer {
 public:
  explicit Buffer(int64_t width) : width_(width) {}
  at::Tensor Rows(int64_t rows) {
    if (!memory_.defined() || memory_.size(0) < rows) memory_ = at::empty({rows, width_}, at::kFloat);
    return memory_.narrow(0, 0, rows);
  }

 private:
  int64_t width_;
  at::Tensor memory_;
};

kernels::WeightType KernelType(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? kernels::WeightType::kBF16 : kernels::WeightType::kF32;
}

std::vector<kernels::AttentionSegment> KernelSegments(const RaggedBatch& batch) {
  std::vector<kernels::AttentionSegment> segments;
  segments.reserve(batch.segments().size());
  for (const RaggedSegment& s : batch.segments())
    segments.push_back({s.begin, s.end, s.slots.data(), static_cast<int64_t>(s.slots.size())});
  return segments;
}

class FastDecoder final : public Decoder {
 public:
  FastDecoder(const Compute& compute, const BaseModel& model, RopeTable rope)
      : compute_(compute),
        pool_(*compute.pool),
        model_(model),
        rope_(std::move(rope)),
        qkv_(QkvWidth(model.config)),
        attended_(int64_t{model.config.num_heads} * model.config.head_dim),
        residual_(model.config.hidden_size),
        normed_(model.config.hidden_size),
        delta_(model.config.hidden_size) {}

  StatusOr<at::Tensor> Forward(const RaggedBatch& batch, KvPool& kv, const MixtureContext& mixture,
                               std::vector<SegmentFault>* faults) override {
    const int64_t rows = batch.rows(), hidden = model_.config.hidden_size;
    const float eps = static_cast<float>(model_.config.rms_norm_eps);
    const std::vector<kernels::AttentionSegment> segments = KernelSegments(batch);
    at::Tensor residual = residual_.Rows(rows), normed = normed_.Rows(rows), delta = delta_.Rows(rows);
    float* h = residual.mutable_data_ptr<float>();
    float* x = normed.mutable_data_ptr<float>();
    Embed(batch, h);
    kernels::RmsNorm(pool_, h, rows, hidden, model_.layers[0].input_norm.const_data_ptr<float>(), hidden, eps, x, hidden);
    LayerRoutes routes;
    for (int32_t l = 0; l < model_.config.num_layers; ++l) {
      const DecoderLayer& layer = model_.layers[l];
      Attention(l, batch, segments, x, kv, delta.mutable_data_ptr<float>());
      kernels::AddRmsNorm(pool_, h, delta.const_data_ptr<float>(), rows, layer.post_attention_norm.const_data_ptr<float>(), hidden, eps, x);
      RETURN_IF_ERROR(mixture.routes->Route(l, normed, &routes));
      MixtureFast(compute_, x, rows, layer.ffn, *mixture.bank, l, routes, mixture.algorithm, delta.mutable_data_ptr<float>());
      // The norm that comes next: of the following layer, or the final one, whose result nobody reads (Logits norms the queried rows
      // alone).
      const at::Tensor& next = l + 1 < model_.config.num_layers ? model_.layers[l + 1].input_norm : model_.final_norm;
      kernels::AddRmsNorm(pool_, h, delta.const_data_ptr<float>(), rows, next.const_data_ptr<float>(), hidden, eps, x);
      IsolateNotFinite(residual, &normed, batch, l, faults);
    }
    return residual;
  }

  at::Tensor Logits(const at::Tensor& hidden) override {
    const int64_t rows = hidden.size(0), width = hidden.size(1);
    const at::Tensor input = hidden.contiguous();
    at::Tensor normed = at::empty({rows, width}, at::kFloat);
    kernels::RmsNorm(pool_, input.const_data_ptr<float>(), rows, width, model_.final_norm.const_data_ptr<float>(), width,
                     static_cast<float>(model_.config.rms_norm_eps), normed.mutable_data_ptr<float>(), width);
    return model_.head->Forward(normed);
  }

 private:
  static int64_t QkvWidth(const ModelConfig& c) { return (int64_t{c.num_heads} + 2 * c.num_kv_heads) * c.head_dim; }

  void Embed(const RaggedBatch& batch, float* out) const {
    const int64_t hidden = model_.config.hidden_size;
    for (int64_t row = 0; row < batch.rows(); ++row) {
      const int64_t offset = batch.tokens()[row] * hidden;
      if (model_.embedding.scalar_type() == at::kFloat) {
        std::memcpy(out + row * hidden, model_.embedding.const_data_ptr<float>() + offset, static_cast<size_t>(hidden) * sizeof(float));
      } else {
        kernels::Bf16ToF32(static_cast<const kernels::bf16*>(model_.embedding.const_data_ptr()) + offset, hidden, out + row * hidden);
      }
    }
  }

  // Norm over each head of x [rows, heads, dim] with `stride` between rows, in place.
  void HeadNorm(float* x, int64_t rows, int64_t stride, int64_t heads, const at::Tensor& weight) const {
    const int64_t dim = model_.config.head_dim;
    const float eps = static_cast<float>(model_.config.rms_norm_eps);
    const float* w = weight.const_data_ptr<float>();
    for (int64_t head = 0; head < heads; ++head) kernels::RmsNorm(pool_, x + head * dim, rows, stride, w, dim, eps, x + head * dim, stride);
  }

  // x [T, H] -> out [T, H]: the block's contribution, before the residual.
  void Attention(int32_t l, const RaggedBatch& batch, const std::vector<kernels::AttentionSegment>& segments, const float* x, KvPool& kv,
                 float* out) {
    const DecoderLayer& layer = model_.layers[l];
    const ModelConfig& c = model_.config;
    const int64_t rows = batch.rows(), dim = c.head_dim, width = QkvWidth(c);
    at::Tensor qkv_rows = qkv_.Rows(rows), attended_rows = attended_.Rows(rows);
    float* q = qkv_rows.mutable_data_ptr<float>();
    float* k = q + c.num_heads * dim;
    float* v = k + c.num_kv_heads * dim;
    layer.qkv.ForwardInto(x, rows, c.hidden_size, q, width, /*accumulate=*/false);
    if (layer.q_norm.defined()) {
      HeadNorm(q, rows, width, c.num_heads, layer.q_norm);
      HeadNorm(k, rows, width, c.num_kv_heads, layer.k_norm);
    }
    const float* cos = rope_.cos.const_data_ptr<float>();
    const float* sin = rope_.sin.const_data_ptr<float>();
    // Heads of q and k lie next to each other: one call turns both.
    kernels::Rope(pool_, q, rows, width, c.num_heads + c.num_kv_heads, dim, batch.positions().data(), cos, sin);
    const kernels::WeightType type = KernelType(kv.dtype());
    void* keys = kv.keys(l).mutable_data_ptr();
    void* values = kv.values(l).mutable_data_ptr();
    kernels::StoreKv(pool_, k, rows, width, c.num_kv_heads * dim, batch.row_slots().data(), keys, type);
    kernels::StoreKv(pool_, v, rows, width, c.num_kv_heads * dim, batch.row_slots().data(), values, type);
    float* attended = attended_rows.mutable_data_ptr<float>();
    kernels::PagedAttention(pool_, q, width, keys, values, type, c.num_heads, c.num_kv_heads, dim,
                            1.0f / std::sqrt(static_cast<float>(dim)), segments, attended, c.num_heads * dim);
    layer.o.ForwardInto(attended, rows, c.num_heads * dim, out, c.hidden_size, /*accumulate=*/false);
  }

  const Compute& compute_;
  kernels::ThreadPool& pool_;
  const BaseModel& model_;
  const RopeTable rope_;
  Buffer qkv_, attended_, residual_, normed_, delta_;
};

}  // namespace

std::unique_ptr<Decoder> MakeFastDecoder(const Compute& compute, const BaseModel& model, RopeTable rope) {
  return std::make_unique<FastDecoder>(compute, model, std::move(rope));
}

}  // namespace switchyard
