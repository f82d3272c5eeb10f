#include "engine/artifact/mixlora_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/artifact/strict_json.h"

namespace switchyard {
namespace {
using Json = nlohmann::json;

constexpr int64_t kMaxExperts = 4096, kMaxRank = 65536;

std::string Short(const Json& v) { return v.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 120); }

// These matter while training only, or say what is not checked here.
const std::set<std::string> kHarmless = {"base_model_name_or_path", "task_type",   "lora_dropout", "lora_init",     "router_aux_loss_coef",
                                         "router_init_range",       "router_loss", "jitter_noise", "inference_mode"};
// Modules a target may name; what a Llama does not have changes nothing.
const std::set<std::string> kTargets = {"gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj"};
const std::set<std::string> kForeignTargets = {"dense", "fc1", "fc2", "qkv_proj", "gate_up_proj"};

// One object of the file; what was asked for is known.
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool Has(const char* name) const { return object_.contains(name) && !object_[name].is_null(); }
  const Json& Value(const char* name) const { return object_[name]; }
  StatusOr<int32_t> Whole(const char* name, int64_t most) const {
    if (!Has(name)) return DataLoss("%s: \"%s\" is missing", where_, name);
    const Json& v = object_[name];
    if (!v.is_number_integer() || v.get<int64_t>() < 1 || v.get<int64_t>() > most)
      return DataLoss("%s: \"%s\": expected a whole number from 1 to %d, found %s", where_, name, most, Short(v));
    return v.get<int32_t>();
  }
  StatusOr<bool> Flag(const char* name) const {
    if (!Has(name)) return false;
    if (!object_[name].is_boolean()) return DataLoss("%s: \"%s\": expected true or false, found %s", where_, name, Short(object_[name]));
    return object_[name].get<bool>();
  }
  StatusOr<double> Positive(const char* name) const {
    if (!Has(name)) return DataLoss("%s: \"%s\" is missing", where_, name);
    const Json& v = object_[name];
    const double value = v.is_number() ? v.get<double>() : 0;
    if (!(value > 0) || !std::isfinite(value)) return DataLoss("%s: \"%s\": expected a number above 0, found %s", where_, name, Short(v));
    return value;
  }
  // UNIMPLEMENTED unless the field is absent, null or one of `allowed`.
  Status Only(const char* name, std::initializer_list<const char*> allowed) const {
    if (!Has(name)) return OkStatus();
    for (const char* value : allowed) {
      if (object_[name] == value) return OkStatus();
    }
    return Unimplemented("%s: \"%s\" = %s is not supported, expected \"%s\"", where_, name, Short(object_[name]), *allowed.begin());
  }
  Status Known(const std::set<std::string>& honoured) const {
    for (const auto& [name, value] : object_.items()) {
      if (!honoured.contains(name) && !kHarmless.contains(name))
        return Unimplemented("%s: \"%s\" = %s is not known here, so it may change what is computed", where_, name.substr(0, 100),
                             Short(value));
    }
    return OkStatus();
  }
  const std::string& where() const { return where_; }

 private:
  const Json& object_;
  const std::string where_;
};

StatusOr<std::set<std::string>> Targets(const Fields& fields) {
  std::set<std::string> targets;
  const auto add = [&](const std::string& name) -> Status {
    if (kTargets.contains(name)) {
      targets.insert(name);
    } else if (!kForeignTargets.contains(name)) {
      return Unimplemented("%s: \"target_modules\" names \"%s\", expected projections of attention and of the feed-forward block",
                           fields.where(), name.substr(0, 100));
    }
    return OkStatus();
  };
  const Json list = fields.Has("target_modules") ? fields.Value("target_modules") : Json();
  const auto broken = [&] {
    return DataLoss("%s: \"target_modules\" must be a list of names, or names with true or false, found %s", fields.where(), Short(list));
  };
  if (list.is_array()) {
    for (const Json& name : list) {
      if (!name.is_string()) return broken();
      RETURN_IF_ERROR(add(name.get<std::string>()));
    }
  } else if (list.is_object()) {
    for (const auto& [name, on] : list.items()) {
      if (!on.is_boolean()) return broken();
      if (on.get<bool>()) RETURN_IF_ERROR(add(name));
    }
  } else {
    return broken();
  }
  return targets;
}

// Rank and scale; fields that an inner object lacks are the outer's.
Status ReadScale(const Fields& fields, MixLoraConfig::Scale* scale) {
  if (fields.Has("r") || scale->rank == 0) {
    ASSIGN_OR_RETURN(scale->rank, fields.Whole("r", kMaxRank));
  }
  if (fields.Has("lora_alpha") || scale->alpha == 0) {
    ASSIGN_OR_RETURN(scale->alpha, fields.Positive("lora_alpha"));
  }
  if (fields.Has("use_rslora")) {
    ASSIGN_OR_RETURN(scale->rslora, fields.Flag("use_rslora"));
  }
  ASSIGN_OR_RETURN(const bool dora, fields.Flag("use_dora"));
  if (dora) return Unimplemented("%s: \"use_dora\" = true is not supported", fields.where());
  if (!(scale->value() > 0)) return DataLoss("%s: \"lora_alpha\" over \"r\" is no number above 0", fields.where());
  return OkStatus();
}
}  // namespace

double MixLoraConfig::Scale::value() const { return alpha / (rslora ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank)); }

StatusOr<MixLoraConfig> ParseMixLoraConfig(const std::string& json, const std::string& file) {
  RETURN_IF_ERROR(CheckStrictJson(json, file));
  const Json document = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return DataLoss("%s: expected an object", file);
  const Fields fields(document, file);
  if (fields.Has("peft_type") && fields.Value("peft_type") == "XLORA") {
    return Unimplemented(
        "%s: X-LoRA chooses by a first pass over the whole model, not by a router in every layer; it cannot be imported exactly", file);
  }
  if (!fields.Has("peft_type")) return DataLoss("%s: \"peft_type\" is missing", file);
  RETURN_IF_ERROR(fields.Only("peft_type", {"MIXLORA"}));
  if (!fields.Has("routing_strategy")) return DataLoss("%s: \"routing_strategy\" is missing", file);
  RETURN_IF_ERROR(fields.Only("routing_strategy", {"mixlora", "mixtral"}));
  RETURN_IF_ERROR(fields.Only("bias", {"none"}));
  RETURN_IF_ERROR(fields.Only("act_fn", {"silu"}));
  RETURN_IF_ERROR(fields.Known({"peft_type", "routing_strategy", "bias", "act_fn", "num_experts", "top_k", "r", "lora_alpha", "use_rslora",
                                "use_dora", "target_modules", "expert_lora"}));
  MixLoraConfig config;
  ASSIGN_OR_RETURN(config.experts, fields.Whole("num_experts", kMaxExperts));
  if (fields.Has("top_k")) {
    ASSIGN_OR_RETURN(config.top_k, fields.Whole("top_k", kMaxExperts));
  }
  if (config.top_k > config.experts) return DataLoss("%s: \"top_k\" is %d of %d experts", file, config.top_k, config.experts);
  RETURN_IF_ERROR(ReadScale(fields, &config.attention));
  config.expert = config.attention;
  ASSIGN_OR_RETURN(config.targets, Targets(fields));
  if (fields.Has("expert_lora")) {
    const Json& inner = fields.Value("expert_lora");
    if (!inner.is_object()) return DataLoss("%s: \"expert_lora\": expected an object, found %s", file, Short(inner));
    const Fields expert(inner, file + ": \"expert_lora\"");
    RETURN_IF_ERROR(expert.Only("bias", {"none"}));
    RETURN_IF_ERROR(expert.Known({"bias", "r", "lora_alpha", "use_rslora", "use_dora", "peft_type"}));
    RETURN_IF_ERROR(ReadScale(expert, &config.expert));
  }
  return config;
}

}  // namespace switchyard
