#include "engine/artifact/fixtures.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/fixtures_internal.h"
#include "engine/artifact/peft_adapter.h"
#include "engine/artifact/safetensors.h"

namespace switchyard {
namespace {

Status WriteExpert(const std::string& directory, const FixtureOptions& options, const FixtureOptions::Expert& expert,
                   const ModelConfig& base) {
  std::vector<TensorView> tensors;
  // alpha = rank, so scale 1. The entries of B A x have deviation stddev_a * stddev_b * sqrt(in * rank) for unit x.
  const auto add = [&](const std::string& module, int64_t in, int64_t out) {
    const double a = 1.0 / std::sqrt(static_cast<double>(in)), b = options.delta_scale / std::sqrt(static_cast<double>(expert.rank));
    const uint64_t seed = options.seed ^ SeededRandom(options.seed, expert.name).Next();
    tensors.push_back(SeededTensor("base_model.model." + module + ".lora_A.weight", {expert.rank, in}, a, seed, DType::kF32));
    tensors.push_back(SeededTensor("base_model.model." + module + ".lora_B.weight", {out, expert.rank}, b, seed, DType::kF32));
  };
  for (int32_t l = 0; l < base.num_layers; ++l) {
    const std::string mlp = "model.layers." + std::to_string(l) + ".mlp.";
    add(mlp + "gate_proj", base.hidden_size, base.intermediate_size);
    add(mlp + "up_proj", base.hidden_size, base.intermediate_size);
    add(mlp + "down_proj", base.intermediate_size, base.hidden_size);
  }
  const nlohmann::ordered_json config = {{"peft_type", "LORA"},    {"task_type", "CAUSAL_LM"},
                                         {"r", expert.rank},       {"lora_alpha", expert.rank},
                                         {"lora_dropout", 0.0},    {"bias", "none"},
                                         {"use_rslora", false},    {"target_modules", {"gate_proj", "up_proj", "down_proj"}},
                                         {"inference_mode", true}, {"switchyard_untrained", true}};
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(directory));
  RETURN_IF_ERROR(WriteSafetensors(staged.path() + "/adapter_model.safetensors", tensors, {{"format", "pt"}}));
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/adapter_config.json", config.dump(2) + "\n"));
  return staged.Publish();
}

Status Validate(const FixtureOptions& options) {
  if (options.experts.empty()) return InvalidArgument("fixtures: at least one expert is needed");
  std::set<std::string> names;
  for (const auto& expert : options.experts) {
    const bool plain = !expert.name.empty() && expert.name.find_first_not_of(
                                                   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos;
    if (!plain) return InvalidArgument("fixtures: expert name \"%s\", expected letters, digits, - and _", expert.name);
    if (!names.insert(expert.name).second || expert.name == "zero")
      return InvalidArgument("fixtures: expert name \"%s\" is taken", expert.name);
    if (expert.rank < 1 || expert.rank > 4096)
      return InvalidArgument("fixtures: expert \"%s\": rank %d, expected 1 to 4096", expert.name, expert.rank);
  }
  const auto routable = static_cast<int32_t>(options.experts.size()) + (options.include_zero ? 1 : 0);
  if (options.top_k < 1 || options.top_k > routable)
    return InvalidArgument("fixtures: top_k %d, expected 1 to %d", options.top_k, routable);
  if (!(options.delta_scale > 0) || options.delta_scale > 10)
    return InvalidArgument("fixtures: delta_scale %g, expected (0, 10]", options.delta_scale);
  return OkStatus();
}

}  // namespace

Status WriteFixtures(const FixtureOptions& options) {
  RETURN_IF_ERROR(Validate(options));
  ASSIGN_OR_RETURN(const ModelConfig base, ReadModelConfig(options.base_directory));
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(options.out_directory));
  RouterManifest manifest;
  for (const auto& expert : options.experts) {
    const std::string directory = staged.path() + "/experts/" + expert.name;
    RETURN_IF_ERROR(WriteExpert(directory, options, expert, base));
    ASSIGN_OR_RETURN(const PeftAdapter adapter, ReadPeftAdapter(directory, base, {}));
    manifest.experts.push_back({expert.name, adapter.generation, false});
  }
  if (options.include_zero) manifest.experts.push_back({"zero", "zero", true});
  manifest.name = "untrained-" + options.router_kind;
  manifest.kind = options.router_kind;
  manifest.top_k = options.top_k;
  manifest.weight_mode = options.weight_mode;
  manifest.num_layers = base.num_layers;
  manifest.hidden_size = base.hidden_size;
  manifest.untrained = true;
  ASSIGN_OR_RETURN(manifest.base_generation, BaseFingerprint(options.base_directory));
  ASSIGN_OR_RETURN(const std::vector<TensorView> tensors, SeededRouterTensors(&manifest, options.seed));
  RETURN_IF_ERROR(WriteRouterArtifact(staged.path() + "/router", manifest, tensors));
  return staged.Publish();
}

}  // namespace switchyard
