// switchyard-trainer import: a Dense2MoE checkpoint becomes experts and a router that a server loads and a run can start from.
#include <cstdio>
#include <memory>

#include "engine/artifact/dense2moe_import.h"
#include "trainer/commands/common.h"

namespace switchyard::trainer {

namespace {

struct Flags {
  Dense2MoeOptions options;
  bool exact_probabilities = false;
};

Status RunImport(Flags& flags) {
  flags.options.round_probabilities_bf16 = !flags.exact_probabilities;
  ASSIGN_OR_RETURN(const Dense2MoeReport report, ImportDense2Moe(flags.options));
  std::printf("%s: a router of %lld layers, top-%d, among", flags.options.out_directory.c_str(), static_cast<long long>(report.layers),
              flags.options.top_k);
  for (const Dense2MoeReport::Expert& expert : report.experts) {
    std::printf(expert.is_zero ? " %s (zero)" : " %s (rank %d)", expert.name.c_str(), expert.max_rank);
  }
  std::printf("; %lld base tensors compared\n", static_cast<long long>(report.compared));
  for (const std::string& note : report.notes) std::printf("note: %s\n", note.c_str());
  return OkStatus();
}

}  // namespace

void AddImportCommand(CLI::App& app, Status* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("import", "Turn a Dense2MoE checkpoint (pytorch_model.bin) into experts and a router");
  command->add_option("--checkpoint", flags->options.checkpoint, "pytorch_model.bin")->required();
  command->add_option("--base", flags->options.base_directory, "Hugging Face directory of the base model")->required();
  command->add_option("--out", flags->options.out_directory, "gets experts/NAME and router/; must not exist")->required();
  command->add_option("--adapters", flags->options.adapters_root, "folder with NAME/final_adapter, for a checkpoint without LoRA");
  command->add_option("--experts", flags->options.experts, "names, in router order")->delimiter(',')->capture_default_str();
  command->add_option("--top-k", flags->options.top_k)->capture_default_str();
  command->add_flag("--exact-probabilities", flags->exact_probabilities, "do not round probabilities to bf16, as Dense2MoE does");
  command->add_flag("--ignore-base-difference", flags->options.ignore_base_difference,
                    "accept a base with other values than the checkpoint's");
  command->callback([flags, result] { *result = RunImport(*flags); });
}

}  // namespace switchyard::trainer
