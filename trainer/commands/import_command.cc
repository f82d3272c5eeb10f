// switchyard-trainer import: a Dense2MoE checkpoint or a MixLoRA adapter becomes experts and a router that a server loads and a run can
// start from.
#include <cstdio>
#include <memory>

#include "engine/artifact/dense2moe_import.h"
#include "engine/artifact/mixlora_import.h"
#include "trainer/commands/common.h"

namespace switchyard::trainer {

namespace {

struct Flags {
  Dense2MoeOptions dense2moe;
  bool exact_probabilities = false;
  MixLoraOptions mixlora;
  std::vector<std::string> experts;
};

void PrintNotes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) std::printf("note: %s\n", note.c_str());
}

Status RunDense2Moe(Flags& flags) {
  flags.dense2moe.round_probabilities_bf16 = !flags.exact_probabilities;
  if (!flags.experts.empty()) flags.dense2moe.experts = flags.experts;
  ASSIGN_OR_RETURN(const Dense2MoeReport report, ImportDense2Moe(flags.dense2moe));
  std::printf("%s: a router of %lld layers, top-%d, among", flags.dense2moe.out_directory.c_str(), static_cast<long long>(report.layers),
              flags.dense2moe.top_k);
  for (const Dense2MoeReport::Expert& expert : report.experts) {
    std::printf(expert.is_zero ? " %s (zero)" : " %s (rank %d)", expert.name.c_str(), expert.max_rank);
  }
  std::printf("; %lld base tensors compared\n", static_cast<long long>(report.compared));
  PrintNotes(report.notes);
  return OkStatus();
}

Status RunMixLora(Flags& flags) {
  flags.mixlora.base_directory = flags.dense2moe.base_directory;
  flags.mixlora.out_directory = flags.dense2moe.out_directory;
  flags.mixlora.experts = flags.experts;
  ASSIGN_OR_RETURN(const MixLoraReport report, ImportMixLora(flags.mixlora));
  std::printf("%s: a router of %d layers, top-%d, among", flags.mixlora.out_directory.c_str(), report.layers, report.top_k);
  for (const std::string& name : report.experts) std::printf(" %s", name.c_str());
  std::printf(" (rank %d)%s\n", report.rank, report.merged_base ? ", and the base they belong to" : "");
  PrintNotes(report.notes);
  return OkStatus();
}

}  // namespace

void AddImportCommand(CLI::App& app, Status* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("import", "Turn a Dense2MoE checkpoint or a MixLoRA adapter into experts and a router");
  auto* source = command->add_option_group("Source");
  source->add_option("--checkpoint", flags->dense2moe.checkpoint, "Dense2MoE: pytorch_model.bin");
  source->add_option("--mixlora", flags->mixlora.adapter_directory, "MixLoRA: directory with adapter_config.json");
  source->require_option(1);
  command->add_option("--base", flags->dense2moe.base_directory, "Hugging Face directory of the base model")->required();
  command->add_option("--out", flags->dense2moe.out_directory, "gets experts/NAME and router/; must not exist")->required();
  command->add_option("--experts", flags->experts, "names, in router order (default: code,medical,law,math,zero; MixLoRA: expert0,...)")
      ->delimiter(',');
  auto* dense = command->add_option_group("Dense2MoE");
  dense->add_option("--adapters", flags->dense2moe.adapters_root, "folder with NAME/final_adapter, for a checkpoint without LoRA");
  dense->add_option("--top-k", flags->dense2moe.top_k)->capture_default_str();
  dense->add_flag("--exact-probabilities", flags->exact_probabilities, "do not round probabilities to bf16, as Dense2MoE does");
  dense->add_flag("--ignore-base-difference", flags->dense2moe.ignore_base_difference,
                  "accept a base with other values than the checkpoint's");
  auto* mixlora = command->add_option_group("MixLoRA");
  mixlora->add_flag("--merge-attention", flags->mixlora.merge_attention,
                    "where attention is adapted too: write OUT/base, the base with that in its weights");
  command->callback([flags, result] { *result = flags->mixlora.adapter_directory.empty() ? RunDense2Moe(*flags) : RunMixLora(*flags); });
}

}  // namespace switchyard::trainer
