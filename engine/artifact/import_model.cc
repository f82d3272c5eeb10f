#include "engine/artifact/import_model.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "absl/strings/str_format.h"
#include "engine/artifact/gguf_quants.h"
#include "engine/artifact/tensor_view.h"
#include "nlohmann/json.hpp"

namespace switchyard {
namespace {

using Json = nlohmann::ordered_json;

// No dimension of a model that fits this engine is larger.
constexpr int64_t kMaxDimension = int64_t{1} << 28;
// The constants of Llama 3's rope scaling; every published Llama 3.x has them, only the factor differs.
constexpr double kLlama3LowFactor = 1.0;
constexpr double kLlama3HighFactor = 4.0;
constexpr double kLlama3OriginalPositions = 8192.0;

StatusOr<int64_t> Dimension(const GgufFile& file, const std::string& key) {
  ASSIGN_OR_RETURN(const int64_t value, file.GetInt(key));
  if (value < 1 || value > kMaxDimension) return DataLoss("%s: %s is %d, expected 1 to %d", file.path(), key, value, kMaxDimension);
  return value;
}

// Floats of the metadata were decimal numbers in some config.json: 9.99999975e-06 was 1e-05. The shortest decimal that reads back as the
// same float is that number.
double ShortestDecimal(double value) {
  const float narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value) return value;
  char text[64];
  const auto end = std::to_chars(text, text + sizeof(text) - 1, narrow).ptr;
  *end = '\0';
  return std::strtod(text, nullptr);
}

StatusOr<double> PositiveNumber(const GgufFile& file, const std::string& key, std::optional<double> otherwise) {
  ASSIGN_OR_RETURN(const std::optional<double> found, file.FindNumber(key));
  if (!found && !otherwise) return NotFound("%s: no metadata key \"%s\"", file.path(), key);
  const double value = found ? *found : *otherwise;
  if (!(value > 0) || !std::isfinite(value)) return DataLoss("%s: %s is %g, expected a positive number", file.path(), key, value);
  return ShortestDecimal(value);
}

// Keys that change the mathematics in ways this engine does not have.
Status RefuseUnsupported(const GgufFile& file, const std::string& arch) {
  for (const char* name : {"expert_count", "expert_used_count", "expert_shared_count", "attention.sliding_window", "ssm.state_size"}) {
    ASSIGN_OR_RETURN(const std::optional<int64_t> value, file.FindInt(arch + "." + name));
    if (value.value_or(0) != 0) return Unimplemented("%s: %s.%s = %d is not supported", file.path(), arch, name, *value);
  }
  for (const char* name : {"attn_logit_softcapping", "final_logit_softcapping", "logit_scale", "residual_scale", "embedding_scale",
                           "attention.scale", "attention.clamp_kqv", "attention.max_alibi_bias"}) {
    ASSIGN_OR_RETURN(const std::optional<double> value, file.FindNumber(arch + "." + name));
    if (value.value_or(0) != 0) return Unimplemented("%s: %s.%s = %g is not supported", file.path(), arch, name, *value);
  }
  return OkStatus();
}

Status ReadHeads(const GgufFile& file, GgufModel* model) {
  const std::string arch = model->architecture + ".";
  ASSIGN_OR_RETURN(model->heads, Dimension(file, arch + "attention.head_count"));
  model->kv_heads = model->heads;
  if (file.Has(arch + "attention.head_count_kv")) {
    ASSIGN_OR_RETURN(model->kv_heads, Dimension(file, arch + "attention.head_count_kv"));
  }
  if (model->heads % model->kv_heads != 0) {
    return DataLoss("%s: %d attention heads are not a multiple of %d key-value heads", file.path(), model->heads, model->kv_heads);
  }
  if (file.Has(arch + "attention.key_length")) {
    ASSIGN_OR_RETURN(model->head_dim, Dimension(file, arch + "attention.key_length"));
  } else if (model->hidden % model->heads == 0) {
    model->head_dim = model->hidden / model->heads;
  } else {
    return DataLoss("%s: embedding length %d is not a multiple of %d heads", file.path(), model->hidden, model->heads);
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> value_length, file.FindInt(arch + "attention.value_length"));
  if (value_length.value_or(model->head_dim) != model->head_dim) {
    return Unimplemented("%s: value heads of %d and key heads of %d dimensions; only equal ones are supported", file.path(), *value_length,
                         model->head_dim);
  }
  if (model->head_dim % 2 != 0) return DataLoss("%s: head dimension %d is odd", file.path(), model->head_dim);
  ASSIGN_OR_RETURN(const std::optional<int64_t> rotary, file.FindInt(arch + "rope.dimension_count"));
  if (rotary.value_or(model->head_dim) != model->head_dim) {
    return Unimplemented("%s: rotary embedding over %d of %d dimensions; only the whole head is supported", file.path(), *rotary,
                         model->head_dim);
  }
  return OkStatus();
}

// Llama 3 files carry the scaling as one divisor per frequency. Finds the factor whose rule gives those divisors.
Status ReadRopeFrequencies(const GgufFile& file, GgufModel* model) {
  auto entry = file.tensors().find("rope_freqs.weight");
  if (entry == file.tensors().end()) return OkStatus();
  const GgufTensor& tensor = entry->second;
  if (tensor.type != GgufType::kF32 || tensor.elements() != model->head_dim / 2) {
    return DataLoss("%s: tensor \"rope_freqs.weight\": expected F32 of %d values, found %s of %d", file.path(), model->head_dim / 2,
                    GgufTypeName(static_cast<uint32_t>(tensor.type)), tensor.elements());
  }
  std::vector<float> divisors(static_cast<size_t>(tensor.elements()));
  Dequantize(tensor.type, tensor.data, divisors);
  const double factor = divisors.back();  // the lowest frequency is always scaled fully
  if (!(factor >= 1) || !std::isfinite(factor))
    return DataLoss("%s: tensor \"rope_freqs.weight\" ends with %g, expected 1 or more", file.path(), factor);
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double wavelength = 2 * M_PI * std::pow(model->rope_theta, 2.0 * static_cast<double>(i) / static_cast<double>(model->head_dim));
    const double smooth = (kLlama3OriginalPositions / wavelength - kLlama3LowFactor) / (kLlama3HighFactor - kLlama3LowFactor);
    const double expected = wavelength < kLlama3OriginalPositions / kLlama3HighFactor  ? 1.0
                            : wavelength > kLlama3OriginalPositions / kLlama3LowFactor ? factor
                                                                                       : 1.0 / ((1.0 - smooth) / factor + smooth);
    if (!(std::abs(divisors[i] - expected) <= 1e-3 * expected)) {
      return Unimplemented("%s: tensor \"rope_freqs.weight\": value %d is %g; Llama 3's scaling by %g gives %g, and no other is supported",
                           file.path(), i, divisors[i], factor, expected);
    }
  }
  if (factor > 1) model->rope_llama3_factor = ShortestDecimal(factor);
  return OkStatus();
}

Status ReadRope(const GgufFile& file, GgufModel* model) {
  const std::string rope = model->architecture + ".rope.";
  ASSIGN_OR_RETURN(model->rope_theta, PositiveNumber(file, rope + "freq_base", 10000.0));
  ASSIGN_OR_RETURN(const std::optional<std::string> type, file.FindString(rope + "scaling.type"));
  ASSIGN_OR_RETURN(const double factor, PositiveNumber(file, rope + "scaling.factor", 1.0));
  ASSIGN_OR_RETURN(const double old_factor, PositiveNumber(file, rope + "scale_linear", 1.0));
  if (type && *type != "none" && *type != "linear") return Unimplemented("%s: rope scaling \"%s\" is not supported", file.path(), *type);
  if (type == "linear" || !type) {
    const double linear = factor != 1.0 ? factor : old_factor;
    if (linear != 1.0) model->rope_linear_factor = linear;
  }
  RETURN_IF_ERROR(ReadRopeFrequencies(file, model));
  if (model->rope_linear_factor && model->rope_llama3_factor) return Unimplemented("%s: two rope scalings at once", file.path());
  return OkStatus();
}

Status ReadVocabulary(const GgufFile& file, GgufModel* model) {
  auto embedding = file.tensors().find("token_embd.weight");
  if (embedding == file.tensors().end()) return DataLoss("%s: no tensor \"token_embd.weight\"", file.path());
  model->vocabulary = embedding->second.shape.front();
  ASSIGN_OR_RETURN(const std::optional<int64_t> stated, file.FindInt(model->architecture + ".vocab_size"));
  if (stated.value_or(model->vocabulary) != model->vocabulary) {
    return DataLoss("%s: %s.vocab_size is %d, but \"token_embd.weight\" has %d rows", file.path(), model->architecture, *stated,
                    model->vocabulary);
  }
  ASSIGN_OR_RETURN(const auto tokens, file.GetStrings("tokenizer.ggml.tokens"));
  if (static_cast<int64_t>(tokens.size()) > model->vocabulary) {
    return DataLoss("%s: %d tokens, but \"token_embd.weight\" has %d rows", file.path(), tokens.size(), model->vocabulary);
  }
  return OkStatus();
}

Json TokenOrNull(std::optional<int64_t> id) { return id ? Json(*id) : Json(nullptr); }

}  // namespace

StatusOr<GgufModel> ReadGgufModel(const GgufFile& file) {
  GgufModel model;
  ASSIGN_OR_RETURN(model.architecture, file.GetString("general.architecture"));
  if (model.architecture != "llama" && model.architecture != "qwen2" && model.architecture != "qwen3") {
    return Unimplemented("%s: architecture \"%s\"; llama, qwen2 and qwen3 are supported", file.path(), model.architecture);
  }
  const std::string arch = model.architecture + ".";
  RETURN_IF_ERROR(RefuseUnsupported(file, model.architecture));
  ASSIGN_OR_RETURN(model.hidden, Dimension(file, arch + "embedding_length"));
  ASSIGN_OR_RETURN(model.intermediate, Dimension(file, arch + "feed_forward_length"));
  ASSIGN_OR_RETURN(model.layers, Dimension(file, arch + "block_count"));
  // Each layer is several tensors, so a count the file cannot hold is refused before anything is made per layer.
  if (model.layers > static_cast<int64_t>(file.tensors().size())) {
    return DataLoss("%s: %sblock_count is %d, but the file has %d tensors", file.path(), arch, model.layers, file.tensors().size());
  }
  ASSIGN_OR_RETURN(model.max_positions, Dimension(file, arch + "context_length"));
  ASSIGN_OR_RETURN(model.rms_norm_eps, PositiveNumber(file, arch + "attention.layer_norm_rms_epsilon", std::nullopt));
  RETURN_IF_ERROR(ReadHeads(file, &model));
  RETURN_IF_ERROR(ReadRope(file, &model));
  RETURN_IF_ERROR(ReadVocabulary(file, &model));
  model.tied_head = file.tensors().count("output.weight") == 0;
  model.qkv_bias = model.architecture == "qwen2" || file.tensors().count("blk.0.attn_q.bias") != 0;
  model.output_bias = file.tensors().count("blk.0.attn_output.bias") != 0;
  if (model.architecture != "qwen2" && model.qkv_bias != model.output_bias) {
    return Unimplemented("%s: biases on some of the attention projections only; %s has them on all four or on none", file.path(),
                         model.architecture);
  }
  if (model.architecture == "qwen2" && model.output_bias)
    return Unimplemented("%s: a bias on the attention output, which qwen2 does not have", file.path());
  return model;
}

std::vector<GgufTensorRule> TensorRules(const GgufModel& m) {
  std::vector<GgufTensorRule> rules;
  const int64_t q_rows = m.heads * m.head_dim, kv_rows = m.kv_heads * m.head_dim;
  const bool permuted = m.architecture == "llama";
  rules.push_back({"token_embd.weight", "model.embed_tokens.weight", {m.vocabulary, m.hidden}});
  rules.push_back({"output_norm.weight", "model.norm.weight", {m.hidden}});
  if (!m.tied_head) rules.push_back({"output.weight", "lm_head.weight", {m.vocabulary, m.hidden}});
  for (int64_t layer = 0; layer < m.layers; ++layer) {
    const std::string from = absl::StrFormat("blk.%d.", layer), to = absl::StrFormat("model.layers.%d.", layer);
    auto add = [&](const char* gguf, const char* name, std::vector<int64_t> shape, int64_t heads = 0) {
      rules.push_back({from + gguf, to + name, std::move(shape), heads});
    };
    const int64_t q_permuted = permuted ? m.heads : 0, k_permuted = permuted ? m.kv_heads : 0;
    add("attn_norm.weight", "input_layernorm.weight", {m.hidden});
    add("attn_q.weight", "self_attn.q_proj.weight", {q_rows, m.hidden}, q_permuted);
    add("attn_k.weight", "self_attn.k_proj.weight", {kv_rows, m.hidden}, k_permuted);
    add("attn_v.weight", "self_attn.v_proj.weight", {kv_rows, m.hidden});
    add("attn_output.weight", "self_attn.o_proj.weight", {m.hidden, q_rows});
    if (m.qkv_bias) {
      add("attn_q.bias", "self_attn.q_proj.bias", {q_rows}, q_permuted);
      add("attn_k.bias", "self_attn.k_proj.bias", {kv_rows}, k_permuted);
      add("attn_v.bias", "self_attn.v_proj.bias", {kv_rows});
    }
    if (m.output_bias) add("attn_output.bias", "self_attn.o_proj.bias", {m.hidden});
    if (m.architecture == "qwen3") {
      add("attn_q_norm.weight", "self_attn.q_norm.weight", {m.head_dim});
      add("attn_k_norm.weight", "self_attn.k_norm.weight", {m.head_dim});
    }
    add("ffn_norm.weight", "post_attention_layernorm.weight", {m.hidden});
    add("ffn_gate.weight", "mlp.gate_proj.weight", {m.intermediate, m.hidden});
    add("ffn_up.weight", "mlp.up_proj.weight", {m.intermediate, m.hidden});
    add("ffn_down.weight", "mlp.down_proj.weight", {m.hidden, m.intermediate});
  }
  return rules;
}

int64_t PermutedRow(int64_t row, int64_t rows, int64_t heads) {
  const int64_t head_rows = rows / heads, half = head_rows / 2;
  const int64_t head = row / head_rows, within = row % head_rows;
  return head * head_rows + 2 * (within % half) + within / half;
}

StatusOr<Json> ConfigJson(const GgufFile& file, const GgufModel& m, const std::string& dtype) {
  ASSIGN_OR_RETURN(const auto bos, file.FindInt("tokenizer.ggml.bos_token_id"));
  ASSIGN_OR_RETURN(const auto eos, file.FindInt("tokenizer.ggml.eos_token_id"));
  ASSIGN_OR_RETURN(const auto pad, file.FindInt("tokenizer.ggml.padding_token_id"));
  Json json;
  json["architectures"] = {m.architecture == "llama"   ? "LlamaForCausalLM"
                           : m.architecture == "qwen2" ? "Qwen2ForCausalLM"
                                                       : "Qwen3ForCausalLM"};
  json["model_type"] = m.architecture;
  json["attention_dropout"] = 0.0;
  if (m.architecture != "qwen2") json["attention_bias"] = m.qkv_bias;
  if (m.architecture == "llama") json["mlp_bias"] = false;
  if (m.architecture != "llama") json["use_sliding_window"] = false;
  json["bos_token_id"] = TokenOrNull(bos);
  json["eos_token_id"] = TokenOrNull(eos);
  json["pad_token_id"] = TokenOrNull(pad);
  json["hidden_act"] = "silu";
  json["hidden_size"] = m.hidden;
  json["intermediate_size"] = m.intermediate;
  json["num_hidden_layers"] = m.layers;
  json["num_attention_heads"] = m.heads;
  json["num_key_value_heads"] = m.kv_heads;
  json["head_dim"] = m.head_dim;
  json["max_position_embeddings"] = m.max_positions;
  json["rms_norm_eps"] = m.rms_norm_eps;
  json["rope_theta"] = m.rope_theta;
  json["rope_scaling"] = nullptr;
  if (m.rope_linear_factor) json["rope_scaling"] = Json{{"rope_type", "linear"}, {"factor", *m.rope_linear_factor}};
  if (m.rope_llama3_factor) {
    json["rope_scaling"] = Json{{"rope_type", "llama3"},
                                {"factor", *m.rope_llama3_factor},
                                {"low_freq_factor", kLlama3LowFactor},
                                {"high_freq_factor", kLlama3HighFactor},
                                {"original_max_position_embeddings", static_cast<int64_t>(kLlama3OriginalPositions)}};
  }
  json["tie_word_embeddings"] = m.tied_head;
  json["torch_dtype"] = dtype;
  json["use_cache"] = true;
  json["vocab_size"] = m.vocabulary;
  return json;
}

StatusOr<Json> GenerationConfigJson(const GgufFile& file) {
  ASSIGN_OR_RETURN(const auto bos, file.FindInt("tokenizer.ggml.bos_token_id"));
  ASSIGN_OR_RETURN(const auto eos, file.FindInt("tokenizer.ggml.eos_token_id"));
  ASSIGN_OR_RETURN(const auto eot, file.FindInt("tokenizer.ggml.eot_token_id"));
  ASSIGN_OR_RETURN(const auto pad, file.FindInt("tokenizer.ggml.padding_token_id"));
  Json json;
  json["_from_model_config"] = true;
  if (bos) json["bos_token_id"] = *bos;
  if (eos) json["eos_token_id"] = *eos;
  if (eot && eot != eos) json["eos_token_id"] = eos ? Json{*eos, *eot} : Json(*eot);
  if (pad) json["pad_token_id"] = *pad;
  return json;
}

}  // namespace switchyard
