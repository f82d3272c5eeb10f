#include "tests/testing/tiny_model.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <random>
#include <span>
#include <utility>

#include "engine/artifact/model_config.h"
#include "engine/artifact/peft_adapter.h"
#include "engine/artifact/router_artifact.h"
#include "engine/artifact/safetensors.h"

namespace switchyard::testing {

namespace {

// Gaussian values from mt19937 alone: std::normal_distribution differs between libraries.
class Gaussian {
 public:
  explicit Gaussian(uint32_t seed) : random_(seed) {}
  float operator()() {
    const double u = (random_() + 1.0) / 4294967297.0, v = random_() / 4294967296.0;
    return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
  }
  TinyTensor Make(std::vector<int64_t> shape, double scale, double mean = 0) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    TinyTensor tensor{std::move(shape), std::vector<float>(count)};
    for (float& value : tensor.values) value = static_cast<float>(mean + scale * (*this)());
    return tensor;
  }
  // [out, in], keeping the variance of its input.
  TinyTensor Matrix(int64_t out, int64_t in, double gain = 1) { return Make({out, in}, gain / std::sqrt(static_cast<double>(in))); }

 private:
  std::mt19937 random_;
};

Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  return out ? OkStatus() : Internal("cannot write %s", path);
}

std::vector<TensorView> Views(const TinyTensors& tensors) {
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : tensors) {
    views.push_back({name, DType::kF32, tensor.shape, std::as_bytes(std::span(tensor.values)), nullptr});
  }
  return views;
}

Status MakeDirectory(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  return error ? Internal("cannot create %s: %s", directory, error.message()) : OkStatus();
}

nlohmann::json Config(const TinyModelSpec& spec) {
  const std::map<std::string, std::string> classes = {
      {"llama", "LlamaForCausalLM"}, {"qwen2", "Qwen2ForCausalLM"}, {"qwen3", "Qwen3ForCausalLM"}};
  return {{"architectures", {classes.at(spec.model_type)}},
          {"model_type", spec.model_type},
          {"hidden_act", "silu"},
          {"hidden_size", spec.hidden},
          {"intermediate_size", spec.intermediate},
          {"num_hidden_layers", spec.layers},
          {"num_attention_heads", spec.heads},
          {"num_key_value_heads", spec.kv_heads},
          {"head_dim", spec.head_dim},
          {"vocab_size", spec.vocab},
          {"max_position_embeddings", spec.max_positions},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", spec.tied},
          {"torch_dtype", "float32"},
          {"bos_token_id", 1},
          {"eos_token_id", 2}};
}

TinyTensors RouterTensors(const TinyModelSpec& model, const TinyRouterSpec& spec) {
  Gaussian random(spec.seed);
  TinyTensors tensors;
  const auto experts = static_cast<int64_t>(spec.experts.size()), half = int64_t{model.hidden} / 2;
  for (int32_t layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = absl::StrFormat("layers.%d.router.", layer);
    if (spec.kind == "linear") {
      tensors[prefix + "weight"] = random.Matrix(experts, model.hidden, 2);
      continue;
    }
    tensors[prefix + "fc1.weight"] = random.Matrix(half, model.hidden, 2);
    tensors[prefix + "fc1.bias"] = random.Make({half}, 0.2);
    tensors[prefix + "fc2.weight"] = random.Matrix(experts, half, 2);
    tensors[prefix + "fc2.bias"] = random.Make({experts}, 0.2);
  }
  return tensors;
}

}  // namespace

TinyTensors TinyBaseTensors(const TinyModelSpec& spec) {
  Gaussian random(spec.seed);
  TinyTensors tensors;
  const int64_t hidden = spec.hidden, q = int64_t{spec.heads} * spec.head_dim, kv = int64_t{spec.kv_heads} * spec.head_dim;
  tensors["model.embed_tokens.weight"] = random.Make({spec.vocab, hidden}, 1);
  for (int32_t layer = 0; layer < spec.layers; ++layer) {
    const std::string prefix = absl::StrFormat("model.layers.%d.", layer);
    const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
    tensors[prefix + "input_layernorm.weight"] = random.Make({hidden}, 0.1, 1);
    tensors[prefix + "post_attention_layernorm.weight"] = random.Make({hidden}, 0.1, 1);
    for (const auto& [name, rows] : {std::pair{"q_proj", q}, std::pair{"k_proj", kv}, std::pair{"v_proj", kv}}) {
      tensors[attention + name + ".weight"] = random.Matrix(rows, hidden);
      if (spec.model_type == "qwen2") tensors[attention + name + ".bias"] = random.Make({rows}, 0.2);
    }
    if (spec.model_type == "qwen3") {
      tensors[attention + "q_norm.weight"] = random.Make({spec.head_dim}, 0.1, 1);
      tensors[attention + "k_norm.weight"] = random.Make({spec.head_dim}, 0.1, 1);
    }
    tensors[attention + "o_proj.weight"] = random.Matrix(hidden, q);
    tensors[mlp + "gate_proj.weight"] = random.Matrix(spec.intermediate, hidden);
    tensors[mlp + "up_proj.weight"] = random.Matrix(spec.intermediate, hidden);
    tensors[mlp + "down_proj.weight"] = random.Matrix(hidden, spec.intermediate);
  }
  tensors["model.norm.weight"] = random.Make({hidden}, 0.1, 1);
  if (!spec.tied) tensors["lm_head.weight"] = random.Matrix(spec.vocab, hidden, 2);
  return tensors;
}

Status WriteTinyBase(const std::string& directory, const TinyModelSpec& spec, const TinyTensors& tensors) {
  RETURN_IF_ERROR(MakeDirectory(directory));
  RETURN_IF_ERROR(WriteText(directory + "/config.json", Config(spec).dump(2)));
  return WriteSafetensors(directory + "/model.safetensors", Views(tensors), {{"format", "pt"}});
}

Status WriteTinyBase(const std::string& directory, const TinyModelSpec& spec) {
  return WriteTinyBase(directory, spec, TinyBaseTensors(spec));
}

TinyTensors TinyExpertTensors(const TinyModelSpec& spec, int32_t rank, uint32_t seed) {
  Gaussian random(seed);
  TinyTensors tensors;
  for (int32_t layer = 0; layer < spec.layers; ++layer) {
    for (const auto& [name, in, out] :
         {std::tuple{"gate_proj", spec.hidden, spec.intermediate}, std::tuple{"up_proj", spec.hidden, spec.intermediate},
          std::tuple{"down_proj", spec.intermediate, spec.hidden}}) {
      const std::string prefix = absl::StrFormat("base_model.model.model.layers.%d.mlp.%s.", layer, name);
      tensors[prefix + "lora_A.weight"] = random.Matrix(rank, in);
      tensors[prefix + "lora_B.weight"] = random.Make({out, rank}, 0.3);
    }
  }
  return tensors;
}

Status WriteTinyExpert(const std::string& directory, int32_t rank, const TinyTensors& tensors) {
  RETURN_IF_ERROR(MakeDirectory(directory));
  const nlohmann::json config = {{"peft_type", "LORA"}, {"task_type", "CAUSAL_LM"},
                                 {"r", rank},           {"lora_alpha", 2 * rank},
                                 {"bias", "none"},      {"target_modules", {"gate_proj", "up_proj", "down_proj"}}};
  RETURN_IF_ERROR(WriteText(directory + "/adapter_config.json", config.dump(2)));
  return WriteSafetensors(directory + "/adapter_model.safetensors", Views(tensors), {{"format", "pt"}});
}

Status WriteTinyExpert(const std::string& directory, const TinyModelSpec& spec, int32_t rank, uint32_t seed) {
  return WriteTinyExpert(directory, rank, TinyExpertTensors(spec, rank, seed));
}

Status WriteTinyRouter(const std::string& directory, const TinyModelSpec& model, const std::string& base_directory,
                       const TinyRouterSpec& spec) {
  RouterManifest manifest;
  manifest.name = spec.name;
  manifest.kind = spec.kind;
  manifest.top_k = spec.top_k;
  manifest.weight_mode = spec.weight_mode;
  manifest.num_layers = model.layers;
  manifest.hidden_size = model.hidden;
  ASSIGN_OR_RETURN(manifest.base_generation, BaseFingerprint(base_directory));
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(base_directory));
  for (const TinyRouterSpec::Expert& expert : spec.experts) {
    if (expert.directory.empty()) {
      manifest.experts.push_back({expert.name, "zero", true});
      continue;
    }
    ASSIGN_OR_RETURN(const PeftAdapter adapter, ReadPeftAdapter(expert.directory, config, {}));
    manifest.experts.push_back({expert.name, adapter.generation, false});
  }
  const TinyTensors tensors = RouterTensors(model, spec);
  return WriteRouterArtifact(directory, manifest, Views(tensors));
}

}  // namespace switchyard::testing
