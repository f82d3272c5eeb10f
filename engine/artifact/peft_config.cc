#include "engine/artifact/peft_config.h"

#include <absl/strings/ascii.h>
#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/artifact/strict_json.h"

namespace switchyard {
namespace {
using Json = nlohmann::json;

std::string Short(const Json& v) { return v.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 120); }

bool IsEmpty(const Json& v) { return v.is_null() || v == false || ((v.is_array() || v.is_object() || v.is_string()) && v.empty()); }

bool EndsWithModule(const std::string& module, const std::string& name) {
  return module == name || (module.size() > name.size() && module.ends_with(name) && module[module.size() - name.size() - 1] == '.');
}

bool MatchesAny(const std::string& module, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return EndsWithModule(module, name); });
}

StatusOr<std::vector<std::string>> StringList(const Json& v, const std::string& where) {
  if (!v.is_array() || v.size() > 10000) return DataLoss("%s must be a list of names, found %s", where, Short(v));
  std::vector<std::string> names;
  for (const Json& name : v) {
    if (!name.is_string() || name.get_ref<const std::string&>().empty())
      return DataLoss("%s must be a list of names, found %s", where, Short(v));
    names.push_back(name.get<std::string>());
  }
  return names;
}

// Honoured fields are read in Parse. These change nothing at inference.
const std::set<std::string> kHarmless = {
    "base_model_name_or_path", "revision",     "inference_mode", "lora_dropout", "task_type",      "auto_mapping",  "peft_version",
    "runtime_config",          "loftq_config", "eva_config",     "corda_config", "lora_ga_config", "megatron_core", "qalora_group_size",
    "ensure_weight_tying",     "velora_config"};
// These change the mathematics; anything but "off" is refused by name.
const std::set<std::string> kRefused = {
    "use_dora",        "fan_in_fan_out",   "modules_to_save",         "lora_bias",         "layer_replication", "trainable_token_indices",
    "megatron_config", "use_qalora",       "alora_invocation_tokens", "target_parameters", "use_bdlora",        "arrow_config",
    "kasa_config",     "monteclora_config"};
const std::set<std::string> kHonoured = {"peft_type",
                                         "r",
                                         "lora_alpha",
                                         "use_rslora",
                                         "target_modules",
                                         "exclude_modules",
                                         "bias",
                                         "rank_pattern",
                                         "alpha_pattern",
                                         "layers_to_transform",
                                         "layers_pattern",
                                         "switchyard_untrained",
                                         "init_lora_weights"};

// How PEFT initialised the adapter before training. Some ways take the first low-rank part out of the base weights, so that the trained
// adapter belongs to that changed base (which is not saved) and not to the one served here. PEFT's own comparisons, prefixes included.
Status CheckInitialisation(const Json& v, const std::string& file) {
  if (v.is_null() || v.is_boolean()) return OkStatus();
  if (!v.is_string()) return DataLoss("%s: \"init_lora_weights\" must be true, false or a name, found %s", file, Short(v));
  const std::string name = absl::AsciiStrToLower(v.get_ref<const std::string&>());
  if (name == "gaussian" || name == "eva" || name == "orthogonal" || name == "mica") return OkStatus();
  if (name.starts_with("pissa") || name.starts_with("corda") || name == "olora" || name == "lora_ga") {
    return Unimplemented(
        "%s: \"init_lora_weights\" = %s takes the adapter's first value out of the base weights, so the adapter does not fit the base as "
        "it is; "
        "convert it with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...), which writes a plain LoRA",
        file, Short(v));
  }
  if (name == "loftq") {
    return Unimplemented(
        "%s: \"init_lora_weights\" = %s puts quantised weights in the base's place, so the adapter does not fit the base as it is, and "
        "PEFT has no "
        "conversion; train it with another initialisation",
        file, Short(v));
  }
  return Unimplemented("%s: \"init_lora_weights\" = %s is not known to this version and may belong to a changed base", file, Short(v));
}
}  // namespace

struct PeftConfig::Pattern {
  RE2 regex;
  double value;
  Pattern(const std::string& text, double v) : regex(text, Options()), value(v) {}
  static RE2::Options Options() {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(4 << 20);
    return options;
  }
};

StatusOr<PeftConfig> PeftConfig::Parse(const std::string& text, const std::string& file) {
  RETURN_IF_ERROR(CheckStrictJson(text, file));
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return DataLoss("%s: expected a JSON object", file);
  PeftConfig config;
  for (const auto& [key, value] : json.items()) {
    if (kHonoured.contains(key) || kHarmless.contains(key)) continue;
    if (IsEmpty(value)) continue;
    if (kRefused.contains(key))
      return Unimplemented("%s: \"%s\" = %s is not supported by the feed-forward mixture", file, key, Short(value));
    return Unimplemented("%s: \"%s\" = %s is not known to this version and may change the adapter's mathematics", file, key.substr(0, 80),
                         Short(value));
  }
  if (json.value("peft_type", Json()) != "LORA")
    return Unimplemented("%s: \"peft_type\" = %s, expected \"LORA\"", file, Short(json.value("peft_type", Json())));
  if (json.contains("bias") && json["bias"] != "none")
    return Unimplemented("%s: \"bias\" = %s, expected \"none\"", file, Short(json["bias"]));
  if (json.contains("init_lora_weights")) RETURN_IF_ERROR(CheckInitialisation(json["init_lora_weights"], file));

  const auto compile = [&](const std::string& pattern, double value, const std::string& field) -> StatusOr<std::shared_ptr<const Pattern>> {
    auto compiled = std::make_shared<const Pattern>(pattern, value);
    if (!compiled->regex.ok())
      return Unimplemented("%s: \"%s\": the pattern \"%s\" cannot be used: %s", file, field, pattern.substr(0, 100),
                           compiled->regex.error());
    return compiled;
  };
  const auto positive = [&](const Json& v, const std::string& field, bool integer, double high, double* out) -> Status {
    if (!(integer ? v.is_number_integer() : v.is_number()) || !std::isfinite(v.get<double>()) || v.get<double>() <= 0 ||
        v.get<double>() > high) {
      return DataLoss("%s: \"%s\" must be a positive %s up to %g, found %s", file, field, integer ? "integer" : "number", high, Short(v));
    }
    *out = v.get<double>();
    return OkStatus();
  };

  double rank = 8;
  if (json.contains("r")) RETURN_IF_ERROR(positive(json["r"], "r", true, 65536, &rank));
  config.rank_ = static_cast<int32_t>(rank);
  if (json.contains("lora_alpha")) RETURN_IF_ERROR(positive(json["lora_alpha"], "lora_alpha", false, 1e6, &config.alpha_));
  for (const auto& [key, out] : {std::pair{"use_rslora", &config.rslora_}, std::pair{"switchyard_untrained", &config.untrained_}}) {
    if (!json.contains(key) || json[key].is_null()) continue;
    if (!json[key].is_boolean()) return DataLoss("%s: \"%s\" must be true or false, found %s", file, key, Short(json[key]));
    *out = json[key].get<bool>();
  }

  const Json targets = json.value("target_modules", Json());
  if (targets.is_string()) {
    if (targets == "all-linear") {
      config.all_linear_ = true;
    } else {
      ASSIGN_OR_RETURN(config.target_regex_, compile(targets.get<std::string>(), 0, "target_modules"));
    }
  } else {
    if (IsEmpty(targets)) return DataLoss("%s: \"target_modules\" is missing", file);
    ASSIGN_OR_RETURN(config.targets_, StringList(targets, file + ": \"target_modules\""));
  }
  const Json excluded = json.value("exclude_modules", Json());
  if (excluded.is_string() && !excluded.empty()) {
    ASSIGN_OR_RETURN(config.excluded_regex_, compile(excluded.get<std::string>(), 0, "exclude_modules"));
  } else if (!IsEmpty(excluded)) {
    ASSIGN_OR_RETURN(config.excluded_, StringList(excluded, file + ": \"exclude_modules\""));
  }

  const Json layers = json.value("layers_to_transform", Json());
  if (!IsEmpty(layers) || layers == 0) {
    if (!config.target_regex_ && !config.all_linear_) config.layers_.emplace();
    for (const Json& l : layers.is_array() ? layers : Json::array({layers})) {
      if (!l.is_number_unsigned()) return DataLoss("%s: \"layers_to_transform\" must be layer numbers, found %s", file, Short(layers));
      if (!config.layers_) return DataLoss("%s: \"layers_to_transform\" needs a list of target_modules", file);
      config.layers_->push_back(l.get<int64_t>());
    }
    const Json patterns = json.value("layers_pattern", Json());
    if (!IsEmpty(patterns)) {
      std::vector<std::string> names;
      if (patterns.is_string()) {
        names.push_back(patterns.get<std::string>());
      } else {
        ASSIGN_OR_RETURN(names, StringList(patterns, file + ": \"layers_pattern\""));
      }
      for (const std::string& name : names) {
        ASSIGN_OR_RETURN(auto pattern, compile("(?:^|.*?\\.)(?:" + name + ")\\.(\\d+)\\..*", 0, "layers_pattern"));
        config.layer_patterns_.push_back(std::move(pattern));
      }
    }
  } else if (!IsEmpty(json.value("layers_pattern", Json()))) {
    return DataLoss("%s: \"layers_pattern\" without \"layers_to_transform\"", file);
  }

  for (const auto& [field, out] :
       {std::pair{"rank_pattern", &config.rank_patterns_}, std::pair{"alpha_pattern", &config.alpha_patterns_}}) {
    const Json map = json.value(field, Json());
    if (IsEmpty(map)) continue;
    if (!map.is_object() || map.size() > 10000)
      return DataLoss("%s: \"%s\" must map patterns to numbers, found %s", file, field, Short(map));
    // PEFT keeps the file's order and takes the first match; nlohmann's default map sorts, so the text is read again in order.
    const auto in_order = nlohmann::ordered_json::parse(text);  // named: the loop below must not outlive a temporary
    for (const auto& [pattern, value] : in_order[field].items()) {
      double number = 0;
      RETURN_IF_ERROR(positive(Json(value), std::string(field) + "\"[\"" + pattern.substr(0, 60), field == std::string_view("rank_pattern"),
                               1e6, &number));
      ASSIGN_OR_RETURN(auto compiled, compile("(?:.*\\.)?(?:" + pattern + ")", number, field));
      out->push_back(std::move(compiled));
    }
  }
  return config;
}

bool PeftConfig::Targets(const std::string& module, int32_t layer) const {
  if (excluded_regex_ && RE2::FullMatch(module, excluded_regex_->regex)) return false;
  if (MatchesAny(module, excluded_)) return false;
  if (all_linear_) return true;
  if (target_regex_) return RE2::FullMatch(module, target_regex_->regex);
  if (std::find(targets_.begin(), targets_.end(), module) != targets_.end()) return true;
  if (!MatchesAny(module, targets_)) return false;
  if (!layers_) return true;
  int64_t index = layer;
  if (!layer_patterns_.empty()) {
    const auto matched = std::any_of(layer_patterns_.begin(), layer_patterns_.end(),
                                     [&](const auto& p) { return RE2::FullMatch(module, p->regex, &index); });
    if (!matched) return false;
  }
  return std::find(layers_->begin(), layers_->end(), index) != layers_->end();
}

int32_t PeftConfig::Rank(const std::string& module) const {
  for (const auto& p : rank_patterns_) {
    if (RE2::FullMatch(module, p->regex)) return static_cast<int32_t>(p->value);
  }
  return rank_;
}

double PeftConfig::Scale(const std::string& module) const {
  double alpha = alpha_;
  for (const auto& p : alpha_patterns_) {
    if (RE2::FullMatch(module, p->regex)) {
      alpha = p->value;
      break;
    }
  }
  const double rank = Rank(module);
  return alpha / (rslora_ ? std::sqrt(rank) : rank);
}

}  // namespace switchyard
