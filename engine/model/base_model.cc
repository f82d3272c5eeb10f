#include "engine/model/base_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <span>
#include <string_view>
#include <utility>

namespace switchyard {

namespace {

// Takes tensors out of the set by name and shape, and at the end refuses what nobody took.
class TensorReader {
 public:
  TensorReader(const SafetensorsSet& tensors, at::ScalarType weight_dtype) : tensors_(tensors), weight_dtype_(weight_dtype) {}

  StatusOr<at::Tensor> Take(const std::string& name, const std::vector<int64_t>& shape) {
    ASSIGN_OR_RETURN(const TensorView view, tensors_.Get(name));
    if (view.shape != shape) {
      return InvalidArgument("tensor %s: config.json asks for shape %s, the file has %s", name, ShapeString(shape),
                             ShapeString(view.shape));
    }
    if (view.dtype != DType::kF32 && view.dtype != DType::kBF16 && view.dtype != DType::kF16) {
      return InvalidArgument("tensor %s: expected dtype F32, BF16 or F16, found %s", name, DTypeName(view.dtype));
    }
    taken_.insert(name);
    auto tensor = TensorFromView(view, weight_dtype_);
    return tensor.ok() ? std::move(tensor) : Annotate(tensor.status(), tensors_.FileOf(name));
  }

  // Rows of several projections of the same input as one matrix.
  StatusOr<at::Tensor> TakeRows(const std::string& prefix, const std::vector<std::pair<std::string, std::vector<int64_t>>>& parts) {
    std::vector<at::Tensor> rows;
    for (const auto& [name, shape] : parts) {
      ASSIGN_OR_RETURN(at::Tensor part, Take(prefix + name, shape));
      rows.push_back(std::move(part));
    }
    return at::cat(rows, 0);
  }

  // A tied file may carry its head as well, if it is the same one.
  Status TakeTiedHead(const at::Tensor& embedding) {
    if (!tensors_.tensors().contains("lm_head.weight")) return OkStatus();
    ASSIGN_OR_RETURN(const at::Tensor head, Take("lm_head.weight", embedding.sizes().vec()));
    if (at::equal(head, embedding)) return OkStatus();
    return InvalidArgument("lm_head.weight differs from model.embed_tokens.weight although config.json says tie_word_embeddings");
  }

  Status CheckAllTaken() const {
    for (const auto& [name, view] : tensors_.tensors()) {
      if (taken_.contains(name) || std::string_view(name).ends_with(".rotary_emb.inv_freq")) continue;
      return InvalidArgument("unexpected tensor %s %s: the architecture of config.json has no place for it", name, ShapeString(view.shape));
    }
    return OkStatus();
  }

 private:
  const SafetensorsSet& tensors_;
  const at::ScalarType weight_dtype_;
  std::set<std::string> taken_;
};

StatusOr<std::optional<at::Tensor>> TakeQkvBias(TensorReader& reader, const ModelConfig& c, const std::string& prefix) {
  if (!c.attention_bias) return std::optional<at::Tensor>();
  const int64_t q = int64_t{c.num_heads} * c.head_dim, kv = int64_t{c.num_kv_heads} * c.head_dim;
  ASSIGN_OR_RETURN(at::Tensor bias, reader.TakeRows(prefix, {{"q_proj.bias", {q}}, {"k_proj.bias", {kv}}, {"v_proj.bias", {kv}}}));
  return std::optional<at::Tensor>(std::move(bias));
}

StatusOr<FeedForward> LoadFeedForward(TensorReader& reader, const ModelConfig& c, const Compute& compute, const std::string& prefix) {
  const int64_t hidden = c.hidden_size, inner = c.intermediate_size;
  ASSIGN_OR_RETURN(const at::Tensor gate, reader.Take(prefix + "gate_proj.weight", {inner, hidden}));
  ASSIGN_OR_RETURN(const at::Tensor up, reader.Take(prefix + "up_proj.weight", {inner, hidden}));
  ASSIGN_OR_RETURN(const at::Tensor down, reader.Take(prefix + "down_proj.weight", {hidden, inner}));
  const at::ScalarType dtype = compute.weight_dtype;
  return FeedForward{Linear(compute, gate, std::nullopt, dtype), Linear(compute, up, std::nullopt, dtype),
                     Linear(compute, down, std::nullopt, dtype)};
}

StatusOr<DecoderLayer> LoadLayer(TensorReader& reader, const ModelConfig& c, const Compute& compute, const std::string& prefix) {
  const int64_t hidden = c.hidden_size, dim = c.head_dim, q = c.num_heads * dim, kv = c.num_kv_heads * dim;
  const std::string attention = prefix + "self_attn.";
  const at::ScalarType dtype = compute.weight_dtype, activation = compute.activation_dtype();
  ASSIGN_OR_RETURN(const at::Tensor input_norm, reader.Take(prefix + "input_layernorm.weight", {hidden}));
  ASSIGN_OR_RETURN(
      const at::Tensor qkv,
      reader.TakeRows(attention, {{"q_proj.weight", {q, hidden}}, {"k_proj.weight", {kv, hidden}}, {"v_proj.weight", {kv, hidden}}}));
  ASSIGN_OR_RETURN(const std::optional<at::Tensor> qkv_bias, TakeQkvBias(reader, c, attention));
  at::Tensor q_norm, k_norm;
  if (c.qk_norm) {
    ASSIGN_OR_RETURN(q_norm, reader.Take(attention + "q_norm.weight", {dim}));
    ASSIGN_OR_RETURN(k_norm, reader.Take(attention + "k_norm.weight", {dim}));
    q_norm = q_norm.to(activation);
    k_norm = k_norm.to(activation);
  }
  ASSIGN_OR_RETURN(const at::Tensor o, reader.Take(attention + "o_proj.weight", {hidden, q}));
  std::optional<at::Tensor> o_bias;
  if (c.attention_output_bias) {
    ASSIGN_OR_RETURN(o_bias, reader.Take(attention + "o_proj.bias", {hidden}));
  }
  ASSIGN_OR_RETURN(const at::Tensor post_norm, reader.Take(prefix + "post_attention_layernorm.weight", {hidden}));
  ASSIGN_OR_RETURN(FeedForward ffn, LoadFeedForward(reader, c, compute, prefix + "mlp."));
  return DecoderLayer{input_norm.to(activation),
                      Linear(compute, qkv, qkv_bias, dtype),
                      q_norm,
                      k_norm,
                      Linear(compute, o, o_bias, dtype),
                      post_norm.to(activation),
                      std::move(ffn)};
}

int64_t LayerBytes(const DecoderLayer& layer) {
  int64_t bytes = layer.qkv.bytes() + layer.o.bytes() + layer.ffn.gate.bytes() + layer.ffn.up.bytes() + layer.ffn.down.bytes();
  for (const at::Tensor* norm : {&layer.input_norm, &layer.post_attention_norm, &layer.q_norm, &layer.k_norm}) {
    if (norm->defined()) bytes += static_cast<int64_t>(norm->nbytes());
  }
  return bytes;
}

}  // namespace

int64_t EstimateBaseBytes(const ModelConfig& c, const Compute& compute) {
  // In floating point: a hostile config.json must not overflow.
  const double hidden = c.hidden_size, heads = double{1} * c.num_heads + c.num_kv_heads;
  const double layer = 2 * heads * c.head_dim * hidden + 3 * hidden * c.intermediate_size;
  // A reference head shares a tied embedding; packing makes a copy.
  const double tables = c.tie_embeddings && compute.backend == Backend::kReference ? 1 : 2;
  const double bytes =
      (layer * c.num_layers + tables * c.vocab_size * hidden) * static_cast<double>(c10::elementSize(compute.weight_dtype));
  return static_cast<int64_t>(std::min(bytes, 9e18));
}

StatusOr<std::unique_ptr<BaseModel>> LoadBaseModel(const ModelConfig& config, const SafetensorsSet& tensors, const Compute& compute,
                                                   int64_t budget_bytes) {
  if (const int64_t estimate = EstimateBaseBytes(config, compute); estimate > budget_bytes) {
    return ResourceExhausted("the base needs %d bytes, the budget is %d", estimate, budget_bytes);
  }
  TensorReader reader(tensors, compute.weight_dtype);
  auto model = std::make_unique<BaseModel>();
  model->config = config;
  const std::vector<int64_t> table = {config.vocab_size, config.hidden_size};
  ASSIGN_OR_RETURN(model->embedding, reader.Take("model.embed_tokens.weight", table));
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    ASSIGN_OR_RETURN(DecoderLayer loaded, LoadLayer(reader, config, compute, absl::StrFormat("model.layers.%d.", layer)));
    model->bytes += LayerBytes(loaded);
    model->layers.push_back(std::move(loaded));
  }
  ASSIGN_OR_RETURN(const at::Tensor final_norm, reader.Take("model.norm.weight", {config.hidden_size}));
  model->final_norm = final_norm.to(compute.activation_dtype());
  at::Tensor head = model->embedding;
  if (config.tie_embeddings) {
    RETURN_IF_ERROR(reader.TakeTiedHead(model->embedding));
  } else {
    ASSIGN_OR_RETURN(head, reader.Take("lm_head.weight", table));
  }
  RETURN_IF_ERROR(reader.CheckAllTaken());
  model->head = std::make_unique<Linear>(compute, head, std::nullopt, compute.weight_dtype);
  const bool shared = config.tie_embeddings && compute.backend == Backend::kReference;
  model->bytes += static_cast<int64_t>(model->embedding.nbytes() + model->final_norm.nbytes()) + (shared ? 0 : model->head->bytes());
  return model;
}

}  // namespace switchyard
