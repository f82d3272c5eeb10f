#include "engine/artifact/mixlora_import.h"

#include <filesystem>
#include <utility>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/mapped_file.h"
#include "engine/artifact/merged_base.h"
#include "engine/artifact/mixlora_config.h"
#include "engine/artifact/mixlora_weights.h"
#include "engine/artifact/peft_adapter.h"
#include "engine/artifact/router_artifact.h"

namespace switchyard {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

Status CheckNames(const std::vector<std::string>& names, const MixLoraConfig& config, const std::string& directory) {
  if (static_cast<int32_t>(names.size()) != config.experts)
    return InvalidArgument("%s: it has %d experts, %d names are given", directory, config.experts, names.size());
  return CheckExpertNames(names);
}

Status WriteRouter(const MixLoraConfig& config, const MixLoraWeights& weights, const ModelConfig& base, const std::string& base_directory,
                   std::vector<RouterExpertBinding> bindings, const std::string& directory) {
  RouterManifest manifest;
  manifest.name = "mixlora";
  manifest.kind = "linear";
  manifest.top_k = config.top_k;
  manifest.weight_mode = "renorm";
  manifest.num_layers = base.num_layers;
  manifest.hidden_size = base.hidden_size;
  manifest.experts = std::move(bindings);
  ASSIGN_OR_RETURN(manifest.base_generation, BaseFingerprint(base_directory));
  std::vector<TensorView> tensors = weights.gates;
  for (size_t l = 0; l < tensors.size(); ++l) tensors[l].name = "layers." + std::to_string(l) + ".router.weight";
  return WriteRouterArtifact(directory, std::move(manifest), tensors);
}

}  // namespace

StatusOr<MixLoraReport> ImportMixLora(const MixLoraOptions& options) {
  const std::string& from = options.adapter_directory;
  if (std::filesystem::exists(from + "/xlora_config.json")) {
    return Unimplemented(
        "%s: X-LoRA chooses by a first pass over the whole model, not by a router in every layer; it cannot be imported exactly", from);
  }
  const std::string config_path = from + "/adapter_config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(config_path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(const MixLoraConfig config, ParseMixLoraConfig(text, config_path));
  ASSIGN_OR_RETURN(const ModelConfig base, ReadModelConfig(options.base_directory));
  MixLoraReport report;
  report.experts = options.experts;
  if (report.experts.empty()) {
    for (int32_t e = 0; e < config.experts; ++e) report.experts.push_back("expert" + std::to_string(e));
  }
  RETURN_IF_ERROR(CheckNames(report.experts, config, from));
  ASSIGN_OR_RETURN(MixLoraWeights weights, ReadMixLoraWeights(from, config, base));
  if (weights.experts[0].empty()) return InvalidArgument("%s: its \"target_modules\" leave the feed-forward blocks alone", config_path);
  if (!weights.attention.empty() && !options.merge_attention) {
    return FailedPrecondition(
        "%s: it also changes attention, alike for all experts; with merging of attention allowed, a base with that change in its weights "
        "is "
        "written beside the experts",
        config_path);
  }

  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(options.out_directory));
  std::string base_directory = options.base_directory;
  if (!weights.attention.empty()) {
    base_directory = staged.path() + "/base";
    RETURN_IF_ERROR(WriteMergedBase(options.base_directory, weights.attention, base_directory));
    report.merged_base = true;
    report.notes.push_back("attention's LoRA is part of base/ now, rounded to the base's dtype; serve that base");
  }
  std::vector<RouterExpertBinding> bindings;
  for (int32_t e = 0; e < config.experts; ++e) {
    const std::string& name = report.experts[static_cast<size_t>(e)];
    const std::string directory = staged.path() + "/experts/" + name;
    RETURN_IF_ERROR(WriteFfnLora(directory, std::move(weights.experts[static_cast<size_t>(e)])));
    ASSIGN_OR_RETURN(const PeftAdapter written, ReadPeftAdapter(directory, base, {}));
    bindings.push_back({name, written.generation, false});
  }
  RETURN_IF_ERROR(WriteRouter(config, weights, base, base_directory, std::move(bindings), staged.path() + "/router"));
  RETURN_IF_ERROR(staged.Publish());
  report.top_k = config.top_k;
  report.rank = config.expert.rank;
  report.layers = base.num_layers;
  report.notes.push_back("MixLoRA has no zero expert: every token takes experts in every layer");
  return report;
}

}  // namespace switchyard
