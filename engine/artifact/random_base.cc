#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/fixtures.h"
#include "engine/artifact/fixtures_internal.h"
#include "engine/artifact/safetensors.h"

namespace switchyard {
namespace {

nlohmann::ordered_json ConfigJson(const RandomBaseOptions& options) {
  const ModelConfig& c = options.config;
  struct Names {
    const char* type;
    const char* architecture;
  };
  const Names names = c.architecture == Architecture::kLlama   ? Names{"llama", "LlamaForCausalLM"}
                      : c.architecture == Architecture::kQwen2 ? Names{"qwen2", "Qwen2ForCausalLM"}
                                                               : Names{"qwen3", "Qwen3ForCausalLM"};
  nlohmann::ordered_json json = {{"architectures", {names.architecture}},
                                 {"model_type", names.type},
                                 {"hidden_size", c.hidden_size},
                                 {"intermediate_size", c.intermediate_size},
                                 {"num_hidden_layers", c.num_layers},
                                 {"num_attention_heads", c.num_heads},
                                 {"num_key_value_heads", c.num_kv_heads},
                                 {"head_dim", c.head_dim},
                                 {"vocab_size", c.vocab_size},
                                 {"max_position_embeddings", c.max_positions},
                                 {"rms_norm_eps", c.rms_norm_eps},
                                 {"hidden_act", "silu"},
                                 {"tie_word_embeddings", c.tie_embeddings},
                                 {"rope_theta", c.rope.theta},
                                 {"dtype", options.dtype},
                                 {"switchyard_untrained", true}};
  if (c.bos_token_id) json["bos_token_id"] = *c.bos_token_id;
  if (!c.eos_token_ids.empty()) json["eos_token_id"] = c.eos_token_ids;
  if (c.architecture != Architecture::kQwen2) json["attention_bias"] = c.attention_bias;
  if (c.rope.linear_factor) json["rope_scaling"] = {{"rope_type", "linear"}, {"factor", *c.rope.linear_factor}};
  if (c.rope.llama3) {
    json["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", c.rope.llama3->factor},
                            {"low_freq_factor", c.rope.llama3->low_freq_factor},
                            {"high_freq_factor", c.rope.llama3->high_freq_factor},
                            {"original_max_position_embeddings", static_cast<int64_t>(c.rope.llama3->original_max_positions)}};
  }
  return json;
}

std::vector<TensorView> Tensors(const RandomBaseOptions& options) {
  const ModelConfig& c = options.config;
  const DType dtype = options.dtype == "float32" ? DType::kF32 : DType::kBF16;
  std::vector<TensorView> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, double stddev, double mean = 0) {
    tensors.push_back(SeededTensor(name, std::move(shape), stddev, options.seed, dtype, mean));
  };
  // 1/sqrt(fan in) keeps activations of unit size, so logits are neither flat nor one-hot.
  const auto fan = [](int64_t in) { return 1.0 / std::sqrt(static_cast<double>(in)); };
  const int64_t h = c.hidden_size, m = c.intermediate_size, q = int64_t{c.num_heads} * c.head_dim,
                kv = int64_t{c.num_kv_heads} * c.head_dim;
  add("model.embed_tokens.weight", {c.vocab_size, h}, c.tie_embeddings ? 2 * fan(h) : 1.0);
  for (int32_t l = 0; l < c.num_layers; ++l) {
    const std::string p = "model.layers." + std::to_string(l) + ".";
    add(p + "input_layernorm.weight", {h}, 0.05, 1);
    add(p + "post_attention_layernorm.weight", {h}, 0.05, 1);
    add(p + "self_attn.q_proj.weight", {q, h}, fan(h));
    add(p + "self_attn.k_proj.weight", {kv, h}, fan(h));
    add(p + "self_attn.v_proj.weight", {kv, h}, fan(h));
    add(p + "self_attn.o_proj.weight", {h, q}, fan(q));
    if (c.attention_bias) {
      add(p + "self_attn.q_proj.bias", {q}, 0.1);
      add(p + "self_attn.k_proj.bias", {kv}, 0.1);
      add(p + "self_attn.v_proj.bias", {kv}, 0.1);
    }
    if (c.attention_output_bias) add(p + "self_attn.o_proj.bias", {h}, 0.1);
    if (c.qk_norm) {
      add(p + "self_attn.q_norm.weight", {c.head_dim}, 0.05, 1);
      add(p + "self_attn.k_norm.weight", {c.head_dim}, 0.05, 1);
    }
    add(p + "mlp.gate_proj.weight", {m, h}, fan(h));
    add(p + "mlp.up_proj.weight", {m, h}, fan(h));
    add(p + "mlp.down_proj.weight", {h, m}, fan(m));
  }
  add("model.norm.weight", {h}, 0.05, 1);
  if (!c.tie_embeddings) add("lm_head.weight", {c.vocab_size, h}, 2 * fan(h));
  return tensors;
}

}  // namespace

Status WriteRandomBase(const RandomBaseOptions& options) {
  if (options.dtype != "float32" && options.dtype != "bfloat16")
    return InvalidArgument("random base: dtype \"%s\", expected float32 or bfloat16", options.dtype);
  const std::string config = ConfigJson(options).dump(2) + "\n";
  RETURN_IF_ERROR(ParseModelConfig(config, options.directory + "/config.json").status());
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(options.directory));
  RETURN_IF_ERROR(WriteSafetensors(staged.path() + "/model.safetensors", Tensors(options), {{"format", "pt"}}));
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/config.json", config));
  nlohmann::ordered_json generation = {{"do_sample", false}};
  if (!options.config.eos_token_ids.empty()) generation["eos_token_id"] = options.config.eos_token_ids;
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/generation_config.json", generation.dump(2) + "\n"));
  return staged.Publish();
}

}  // namespace switchyard
