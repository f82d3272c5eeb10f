// The oracle: plain ATen in the model's dtype, rounding where transformers rounds (norms and softmax in f32, everything else in the dtype).
#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <utility>

#include "engine/model/decoder.h"

namespace switchyard {

namespace {

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor normed = wide * at::rsqrt(wide.pow(2).mean(-1, /*keepdim=*/true) + eps);
  return weight * normed.to(x.scalar_type());
}

at::Tensor IndexOf(std::span<const int32_t> values) {
  return at::from_blob(const_cast<int32_t*>(values.data()), {static_cast<int64_t>(values.size())}, at::kInt).clone();
}

// x [T, heads, dim]; cos and sin [T, dim / 2]: rotates the two halves of each head.
at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const at::Tensor c = at::cat({cos, cos}, -1).unsqueeze(1).to(x.scalar_type()),
                   s = at::cat({sin, sin}, -1).unsqueeze(1).to(x.scalar_type());
  const int64_t half = x.size(-1) / 2;
  const at::Tensor turned = at::cat({-x.slice(-1, half), x.slice(-1, 0, half)}, -1);
  return x * c + turned * s;
}

// q [n, heads, dim], k and v [P, kv_heads, dim] -> [n, heads * dim]. Row i sees positions 0 .. P - n + i.
at::Tensor Attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const int64_t n = q.size(0), positions = k.size(0), group = q.size(1) / k.size(1);
  const at::Tensor keys = k.repeat_interleave(group, 1).permute({1, 2, 0});    // [heads, dim, P]
  const at::Tensor values = v.repeat_interleave(group, 1).permute({1, 0, 2});  // [heads, P, dim]
  const at::Tensor scores = at::matmul(q.permute({1, 0, 2}), keys) * (1.0 / std::sqrt(static_cast<double>(q.size(2))));
  const at::Tensor visible = at::ones({n, positions}, at::kBool).tril(positions - n);
  const at::Tensor masked = scores.to(at::kFloat).masked_fill(visible.logical_not(), -std::numeric_limits<float>::infinity());
  const at::Tensor p = at::softmax(masked, -1).to(q.scalar_type());
  return at::matmul(p, values).permute({1, 0, 2}).reshape({n, q.size(1) * q.size(2)});
}

class ReferenceDecoder final : public Decoder {
 public:
  ReferenceDecoder(const BaseModel& model, RopeTable rope) : model_(model), rope_(std::move(rope)) {}

  StatusOr<at::Tensor> Forward(const RaggedBatch& batch, KvPool& kv, const MixtureContext& mixture,
                               std::vector<SegmentFault>* faults) override {
    const at::Tensor positions = IndexOf(batch.positions());
    const RopeTable rope = {rope_.cos.index_select(0, positions), rope_.sin.index_select(0, positions)};
    const double eps = model_.config.rms_norm_eps;
    at::Tensor hidden = model_.embedding.index_select(0, IndexOf(batch.tokens()));
    LayerRoutes routes;
    for (int32_t l = 0; l < model_.config.num_layers; ++l) {
      const DecoderLayer& layer = model_.layers[l];
      hidden = hidden + Attention(l, RmsNorm(hidden, layer.input_norm, eps), batch, rope, kv);
      const at::Tensor x = RmsNorm(hidden, layer.post_attention_norm, eps);
      RETURN_IF_ERROR(mixture.routes->Route(l, x, &routes));
      hidden = hidden + MixtureReference(x, layer.ffn, *mixture.bank, l, routes);
      IsolateNotFinite(hidden, nullptr, batch, l, faults);
    }
    return hidden;
  }

  at::Tensor Logits(const at::Tensor& hidden) override {
    return model_.head->Forward(RmsNorm(hidden, model_.final_norm, model_.config.rms_norm_eps)).to(at::kFloat).contiguous();
  }

 private:
  at::Tensor Attention(int32_t l, const at::Tensor& x, const RaggedBatch& batch, const RopeTable& rope, KvPool& kv) const {
    const DecoderLayer& layer = model_.layers[l];
    const ModelConfig& c = model_.config;
    const int64_t rows = x.size(0);
    const auto parts = layer.qkv.Forward(x).view({rows, -1, c.head_dim}).split_with_sizes({c.num_heads, c.num_kv_heads, c.num_kv_heads}, 1);
    at::Tensor q = parts[0], k = parts[1];
    if (layer.q_norm.defined()) {
      q = RmsNorm(q, layer.q_norm, c.rms_norm_eps);
      k = RmsNorm(k, layer.k_norm, c.rms_norm_eps);
    }
    q = Rotate(q, rope.cos, rope.sin);
    const at::Tensor slots = IndexOf(batch.row_slots()).to(at::kLong);
    kv.keys(l).index_copy_(0, slots, Rotate(k, rope.cos, rope.sin));
    kv.values(l).index_copy_(0, slots, parts[2]);
    std::vector<at::Tensor> rows_out;
    for (const RaggedSegment& segment : batch.segments()) {
      const at::Tensor seen = IndexOf(segment.slots);
      rows_out.push_back(
          Attend(q.slice(0, segment.begin, segment.end), kv.keys(l).index_select(0, seen), kv.values(l).index_select(0, seen)));
    }
    return layer.o.Forward(at::cat(rows_out, 0));
  }

  const BaseModel& model_;
  const RopeTable rope_;
};

}  // namespace

std::unique_ptr<Decoder> MakeReferenceDecoder(const Compute&, const BaseModel& model, RopeTable rope) {
  return std::make_unique<ReferenceDecoder>(model, std::move(rope));
}

}  // namespace switchyard
