#include "engine/artifact/model_config.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/artifact/mapped_file.h"
#include "engine/artifact/strict_json.h"

namespace switchyard {
namespace {
using Json = nlohmann::json;
constexpr size_t kMaxConfigBytes = 8 << 20;

// Reads typed fields of one JSON object and remembers which it has seen, so that what is left over can be refused.
class Fields {
 public:
  Fields(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  bool Has(const std::string& key) {
    seen_.insert(key);
    return json_.contains(key) && !json_[key].is_null();
  }
  const Json& At(const std::string& key) const { return json_[key]; }

  Status Int(const std::string& key, int64_t low, int64_t high, bool required, int32_t* out) {
    if (!Has(key)) return required ? DataLoss("%s: \"%s\" is missing", where_, key) : OkStatus();
    const Json& v = At(key);
    if (!v.is_number_integer()) return DataLoss("%s: \"%s\" must be an integer, found %s", where_, key, Short(v));
    const auto n = v.is_number_unsigned() && v.get<uint64_t>() > INT32_MAX ? int64_t{INT64_MAX} : v.get<int64_t>();
    if (n < low || n > high) return DataLoss("%s: \"%s\" must lie in [%d, %d], found %s", where_, key, low, high, Short(v));
    *out = static_cast<int32_t>(n);
    return OkStatus();
  }
  Status Number(const std::string& key, double low, double high, double* out) {
    if (!Has(key)) return OkStatus();
    const Json& v = At(key);
    if (!v.is_number() || !std::isfinite(v.get<double>()) || v.get<double>() < low || v.get<double>() > high) {
      return DataLoss("%s: \"%s\" must be a number in [%g, %g], found %s", where_, key, low, high, Short(v));
    }
    *out = v.get<double>();
    return OkStatus();
  }
  Status Bool(const std::string& key, bool* out) {
    if (!Has(key)) return OkStatus();
    if (!At(key).is_boolean()) return DataLoss("%s: \"%s\" must be true or false, found %s", where_, key, Short(At(key)));
    *out = At(key).get<bool>();
    return OkStatus();
  }
  Status String(const std::string& key, std::string* out) {
    if (!Has(key)) return OkStatus();
    if (!At(key).is_string()) return DataLoss("%s: \"%s\" must be a string, found %s", where_, key, Short(At(key)));
    *out = At(key).get<std::string>();
    return OkStatus();
  }
  // Present, and anything but `allowed`: refused by name.
  Status Only(const std::string& key, const Json& allowed) {
    if (!Has(key) || At(key) == allowed) return OkStatus();
    return Unimplemented("%s: \"%s\" = %s is not supported (expected %s)", where_, key, Short(At(key)), allowed.dump());
  }
  // An unknown key may be noise or new mathematics. Noise is what cannot change a number: null, false, text.
  Status RefuseUnknown() const {
    for (const auto& [key, value] : json_.items()) {
      if (seen_.contains(key) || value.is_null() || value.is_string() || value == false) continue;
      return Unimplemented("%s: \"%s\" = %s is not known to this version and may change the model's mathematics", where_, key.substr(0, 80),
                           Short(value));
    }
    return OkStatus();
  }
  void Ignore(std::initializer_list<const char*> keys) {
    for (const char* k : keys) seen_.insert(k);
  }
  const std::string& where() const { return where_; }
  static std::string Short(const Json& v) { return v.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 120); }

 private:
  const Json& json_;
  std::string where_;
  std::set<std::string> seen_;
};

Status ParseRopeScaling(const Json& json, const std::string& where, RopeConfig* rope, std::optional<double>* theta) {
  if (!json.is_object()) return DataLoss("%s must be an object", where);
  Fields f(json, where);
  std::string type = "default", legacy;
  RETURN_IF_ERROR(f.String("rope_type", &type));
  RETURN_IF_ERROR(f.String("type", &legacy));
  if (!legacy.empty()) {
    if (json.contains("rope_type") && legacy != type)
      return DataLoss("%s: \"type\" is \"%s\" but \"rope_type\" is \"%s\"", where, legacy, type);
    type = legacy;
  }
  if (f.Has("rope_theta")) {
    double value = 0;
    RETURN_IF_ERROR(f.Number("rope_theta", 1e-3, 1e12, &value));
    *theta = value;
  }
  RETURN_IF_ERROR(f.Only("partial_rotary_factor", 1.0));
  if (type == "llama3") {
    RopeConfig::Llama3 l;
    int32_t original = 8192;
    for (const char* key : {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
      if (!f.Has(key)) return DataLoss("%s: \"%s\" is missing (rope_type llama3)", where, key);
    }
    RETURN_IF_ERROR(f.Number("factor", 1.0, 1e6, &l.factor));
    RETURN_IF_ERROR(f.Number("low_freq_factor", 1e-6, 1e6, &l.low_freq_factor));
    RETURN_IF_ERROR(f.Number("high_freq_factor", 1e-6, 1e6, &l.high_freq_factor));
    RETURN_IF_ERROR(f.Int("original_max_position_embeddings", 1, 1 << 26, true, &original));
    if (l.high_freq_factor <= l.low_freq_factor) return DataLoss("%s: high_freq_factor must be greater than low_freq_factor", where);
    l.original_max_positions = original;
    rope->llama3 = l;
  } else if (type == "linear") {
    double factor = 0;
    if (!f.Has("factor")) return DataLoss("%s: \"factor\" is missing (rope_type linear)", where);
    RETURN_IF_ERROR(f.Number("factor", 1.0, 1e6, &factor));
    rope->linear_factor = factor;
  } else if (type != "default") {
    return Unimplemented("%s: rope_type \"%s\" is not supported (expected default, linear or llama3)", where, type.substr(0, 40));
  }
  return f.RefuseUnknown();
}

// The two spellings in the wild: rope_theta + rope_scaling, and rope_parameters. Both may be there when they agree.
Status ParseRope(Fields* f, RopeConfig* rope) {
  std::optional<double> outer, scaling_theta, parameters_theta;
  if (f->Has("rope_theta")) {
    double theta = 0;
    RETURN_IF_ERROR(f->Number("rope_theta", 1e-3, 1e12, &theta));
    outer = theta;
  }
  RopeConfig from_scaling, from_parameters;
  const bool scaling = f->Has("rope_scaling"), parameters = f->Has("rope_parameters");
  if (scaling) RETURN_IF_ERROR(ParseRopeScaling(f->At("rope_scaling"), f->where() + ": rope_scaling", &from_scaling, &scaling_theta));
  if (parameters)
    RETURN_IF_ERROR(ParseRopeScaling(f->At("rope_parameters"), f->where() + ": rope_parameters", &from_parameters, &parameters_theta));
  if (scaling && parameters) {
    const auto key = [](const RopeConfig& r) {
      return std::tuple(r.llama3.has_value(), r.llama3 ? r.llama3->factor : 0, r.llama3 ? r.llama3->low_freq_factor : 0,
                        r.llama3 ? r.llama3->high_freq_factor : 0, r.llama3 ? r.llama3->original_max_positions : 0,
                        r.linear_factor.value_or(0));
    };
    if (key(from_scaling) != key(from_parameters))
      return DataLoss("%s: rope_scaling and rope_parameters contradict each other", f->where());
  }
  *rope = parameters ? from_parameters : from_scaling;
  std::optional<double> theta;
  for (const auto& candidate : {outer, scaling_theta, parameters_theta}) {
    if (!candidate) continue;
    if (theta && *theta != *candidate) return DataLoss("%s: rope_theta is given twice, as %g and as %g", f->where(), *theta, *candidate);
    theta = candidate;
  }
  rope->theta = theta.value_or(10000.0);
  return OkStatus();
}

StatusOr<std::vector<int32_t>> TokenList(const Json& v, const std::string& where) {
  std::vector<int32_t> ids;
  for (const Json& id : v.is_array() ? v : Json::array({v})) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX)
      return DataLoss("%s must be a token id or a list of them, found %s", where, Fields::Short(v));
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

StatusOr<Architecture> ParseArchitecture(Fields* f) {
  std::string type, name;
  RETURN_IF_ERROR(f->String("model_type", &type));
  if (f->Has("architectures")) {
    const Json& list = f->At("architectures");
    if (!list.is_array() || list.size() != 1 || !list[0].is_string())
      return DataLoss("%s: \"architectures\" must be a list of one name", f->where());
    name = list[0].get<std::string>();
  }
  struct Row {
    const char* type;
    const char* name;
    Architecture architecture;
  };
  for (const Row& row : {Row{"llama", "LlamaForCausalLM", Architecture::kLlama}, Row{"qwen2", "Qwen2ForCausalLM", Architecture::kQwen2},
                         Row{"qwen3", "Qwen3ForCausalLM", Architecture::kQwen3}}) {
    if (type == row.type && (name.empty() || name == row.name)) return row.architecture;
    if (type.empty() && name == row.name) return row.architecture;
  }
  return Unimplemented("%s: model_type \"%s\" with architecture \"%s\" is not supported (expected llama, qwen2 or qwen3 for causal LM)",
                       f->where(), type.substr(0, 60), name.substr(0, 60));
}
}  // namespace

StatusOr<ModelConfig> ParseModelConfig(const std::string& text, const std::string& file) {
  RETURN_IF_ERROR(CheckStrictJson(text, file));
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return DataLoss("%s: expected a JSON object", file);
  Fields f(json, file);
  ModelConfig c;
  ASSIGN_OR_RETURN(c.architecture, ParseArchitecture(&f));
  RETURN_IF_ERROR(f.Int("hidden_size", 1, 1 << 17, true, &c.hidden_size));
  RETURN_IF_ERROR(f.Int("intermediate_size", 1, 1 << 19, true, &c.intermediate_size));
  RETURN_IF_ERROR(f.Int("num_hidden_layers", 1, 1024, true, &c.num_layers));
  RETURN_IF_ERROR(f.Int("num_attention_heads", 1, 1024, true, &c.num_heads));
  c.num_kv_heads = c.num_heads;
  RETURN_IF_ERROR(f.Int("num_key_value_heads", 1, 1024, false, &c.num_kv_heads));
  RETURN_IF_ERROR(f.Int("head_dim", 2, 1024, false, &c.head_dim));
  RETURN_IF_ERROR(f.Int("vocab_size", 1, 1 << 24, true, &c.vocab_size));
  RETURN_IF_ERROR(f.Int("max_position_embeddings", 1, 1 << 26, true, &c.max_positions));
  RETURN_IF_ERROR(f.Number("rms_norm_eps", 0, 1, &c.rms_norm_eps));
  if (c.head_dim == 0) {
    if (c.architecture == Architecture::kQwen3) {
      c.head_dim = 128;  // transformers' default for Qwen3
    } else if (c.hidden_size % c.num_heads != 0) {
      return DataLoss("%s: hidden_size %d is no multiple of num_attention_heads %d, and head_dim is missing", file, c.hidden_size,
                      c.num_heads);
    } else {
      c.head_dim = c.hidden_size / c.num_heads;
    }
  }
  if (c.head_dim % 2 != 0) return DataLoss("%s: head_dim must be even for rope, found %d", file, c.head_dim);
  if (c.num_heads % c.num_kv_heads != 0) {
    return DataLoss("%s: num_attention_heads %d is no multiple of num_key_value_heads %d", file, c.num_heads, c.num_kv_heads);
  }
  c.tie_embeddings = false;
  RETURN_IF_ERROR(f.Bool("tie_word_embeddings", &c.tie_embeddings));
  bool bias = c.architecture == Architecture::kQwen2;
  if (c.architecture == Architecture::kQwen2) {
    RETURN_IF_ERROR(f.Only("attention_bias", true));
  } else {
    RETURN_IF_ERROR(f.Bool("attention_bias", &bias));
    c.attention_output_bias = bias;
  }
  c.attention_bias = bias;
  c.qk_norm = c.architecture == Architecture::kQwen3;
  RETURN_IF_ERROR(f.Only("mlp_bias", false));
  RETURN_IF_ERROR(f.Only("hidden_act", "silu"));
  RETURN_IF_ERROR(f.Only("pretraining_tp", 1));
  RETURN_IF_ERROR(f.Only("use_sliding_window", false));
  RETURN_IF_ERROR(f.Only("quantization_config", nullptr));
  RETURN_IF_ERROR(f.Only("is_encoder_decoder", false));
  if (f.Has("layer_types")) {
    const Json& types = f.At("layer_types");
    if (!types.is_array()) return DataLoss("%s: \"layer_types\" must be a list", file);
    for (const Json& t : types) {
      if (t != "full_attention")
        return Unimplemented("%s: \"layer_types\" holds %s; only full_attention is supported", file, Fields::Short(t));
    }
  }
  RETURN_IF_ERROR(ParseRope(&f, &c.rope));
  RETURN_IF_ERROR(f.String("torch_dtype", &c.dtype));
  RETURN_IF_ERROR(f.String("dtype", &c.dtype));
  if (f.Has("bos_token_id")) {
    ASSIGN_OR_RETURN(const auto ids, TokenList(f.At("bos_token_id"), file + ": \"bos_token_id\""));
    if (!ids.empty()) c.bos_token_id = ids[0];
  }
  if (f.Has("eos_token_id")) {
    ASSIGN_OR_RETURN(c.eos_token_ids, TokenList(f.At("eos_token_id"), file + ": \"eos_token_id\""));
  }
  f.Ignore({"attention_dropout",
            "initializer_range",
            "use_cache",
            "pad_token_id",
            "transformers_version",
            "_name_or_path",
            "max_window_layers",
            "sliding_window",
            "rope_interleaved",
            "is_llama_config",
            "id2label",
            "label2id",
            "transformers.js_config",
            "chunk_size_feed_forward",
            "output_attentions",
            "output_hidden_states",
            "return_dict",
            "problem_type",
            "use_mrope",
            "switchyard_untrained"});
  RETURN_IF_ERROR(f.Only("rope_interleaved", false));
  RETURN_IF_ERROR(f.RefuseUnknown());
  return c;
}

StatusOr<ModelConfig> ReadModelConfig(const std::string& directory) {
  const std::filesystem::path dir(directory);
  const std::string path = (dir / "config.json").string();
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(ModelConfig config, ParseModelConfig(text, path));
  const std::string generation = (dir / "generation_config.json").string();
  if (std::filesystem::exists(generation)) {
    ASSIGN_OR_RETURN(const std::string generation_text, ReadSmallFile(generation, kMaxConfigBytes));
    RETURN_IF_ERROR(CheckStrictJson(generation_text, generation));
    const Json json = Json::parse(generation_text, nullptr, false);
    if (!json.is_object()) return DataLoss("%s: expected a JSON object", generation);
    if (json.contains("eos_token_id") && !json["eos_token_id"].is_null()) {
      ASSIGN_OR_RETURN(config.eos_token_ids, TokenList(json["eos_token_id"], generation + ": \"eos_token_id\""));
    }
  }
  if (config.bos_token_id && *config.bos_token_id >= config.vocab_size) {
    return DataLoss("%s: bos token %d lies outside the vocabulary of %d", directory, *config.bos_token_id, config.vocab_size);
  }
  for (int32_t id : config.eos_token_ids) {
    if (id >= config.vocab_size) return DataLoss("%s: eos token %d lies outside the vocabulary of %d", directory, id, config.vocab_size);
  }
  return config;
}

StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::string& directory) {
  const std::string path = (std::filesystem::path(directory) / "generation_config.json").string();
  if (!std::filesystem::exists(path)) return GenerationDefaults();
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxConfigBytes));
  return ParseGenerationDefaults(text, path);
}

StatusOr<GenerationDefaults> ParseGenerationDefaults(const std::string& text, const std::string& path) {
  GenerationDefaults defaults;
  RETURN_IF_ERROR(CheckStrictJson(text, path));
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return DataLoss("%s: expected a JSON object", path);
  Fields f(json, path);
  const auto number = [&](const char* key, double low, double high, std::optional<float>* out) -> Status {
    if (!f.Has(key)) return OkStatus();
    double value = 0;
    RETURN_IF_ERROR(f.Number(key, low, high, &value));
    *out = static_cast<float>(value);
    return OkStatus();
  };
  RETURN_IF_ERROR(number("temperature", 0, 1e4, &defaults.temperature));
  RETURN_IF_ERROR(number("top_p", 1e-9, 1, &defaults.top_p));
  RETURN_IF_ERROR(number("min_p", 0, 1 - 1e-6, &defaults.min_p));
  RETURN_IF_ERROR(number("repetition_penalty", 1e-3, 1e3, &defaults.repetition_penalty));
  if (f.Has("top_k")) {
    int32_t k = 0;
    RETURN_IF_ERROR(f.Int("top_k", 0, INT32_MAX, true, &k));
    defaults.top_k = k;
  }
  if (f.Has("do_sample")) {
    bool sample = false;
    RETURN_IF_ERROR(f.Bool("do_sample", &sample));
    defaults.do_sample = sample;
  }
  return defaults;
}

}  // namespace switchyard
