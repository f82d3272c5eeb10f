#include "engine/artifact/ffn_lora.h"

#include <nlohmann/json.hpp>
#include <set>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/safetensors.h"

namespace switchyard {
namespace {

// The value most modules share stands in the configuration, the others in a pattern.
double Commonest(const std::vector<double>& values) {
  std::map<double, int> counts;
  for (const double value : values) ++counts[value];
  double best = values[0];
  for (const auto& [value, count] : counts) {
    if (count > counts[best]) best = value;
  }
  return best;
}

}  // namespace

const char* ShortName(FfnProjection projection) {
  return projection == FfnProjection::kGate ? "gate" : projection == FfnProjection::kUp ? "up" : "down";
}

std::string FfnModule(int32_t layer, FfnProjection projection) {
  return "layers." + std::to_string(layer) + ".mlp." + ShortName(projection) + "_proj";
}

Status CheckExpertNames(const std::vector<std::string>& names) {
  std::set<std::string> seen;
  for (const std::string& name : names) {
    const bool plain =
        !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos;
    if (!plain) return InvalidArgument("expert name \"%s\", expected letters, digits, - and _", name);
    if (!seen.insert(name).second) return InvalidArgument("expert name \"%s\" is given twice", name);
  }
  return OkStatus();
}

Status WriteFfnLora(const std::string& directory, FfnLora lora) {
  std::vector<double> ranks, alphas;
  std::set<std::string> targets;
  for (auto& [key, pair] : lora) {
    targets.insert(std::string(ShortName(key.second)) + "_proj");
    const auto rank = static_cast<double>(pair.a.shape[0]);
    ranks.push_back(rank);
    alphas.push_back(pair.scale * rank);
  }
  const double rank = Commonest(ranks), alpha = Commonest(alphas);
  nlohmann::ordered_json rank_pattern = nlohmann::ordered_json::object(), alpha_pattern = rank_pattern;
  std::vector<TensorView> tensors;
  size_t i = 0;
  for (auto& [key, pair] : lora) {
    const std::string module = FfnModule(key.first, key.second);
    const std::string pattern = "layers\\." + std::to_string(key.first) + "\\.mlp\\." + ShortName(key.second) + "_proj";
    if (ranks[i] != rank) rank_pattern[pattern] = static_cast<int64_t>(ranks[i]);
    if (alphas[i] != alpha) alpha_pattern[pattern] = alphas[i];
    pair.a.name = "base_model.model.model." + module + ".lora_A.weight";
    pair.b.name = "base_model.model.model." + module + ".lora_B.weight";
    tensors.push_back(pair.a);
    tensors.push_back(pair.b);
    ++i;
  }
  const nlohmann::ordered_json config = {{"peft_type", "LORA"},
                                         {"task_type", "CAUSAL_LM"},
                                         {"r", static_cast<int64_t>(rank)},
                                         {"lora_alpha", alpha},
                                         {"lora_dropout", 0.0},
                                         {"bias", "none"},
                                         {"use_rslora", false},
                                         {"target_modules", targets},
                                         {"rank_pattern", rank_pattern},
                                         {"alpha_pattern", alpha_pattern},
                                         {"inference_mode", true}};
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(directory));
  RETURN_IF_ERROR(WriteSafetensors(staged.path() + "/adapter_model.safetensors", tensors, {{"format", "pt"}}));
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/adapter_config.json", config.dump(2) + "\n"));
  return staged.Publish();
}

}  // namespace switchyard
