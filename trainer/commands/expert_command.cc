// switchyard-trainer expert: a LoRA on the feed-forward blocks of a frozen base. On the data of one domain it is that domain's expert, on
// all of them the general LoRA to compare with.
#include <cstdio>
#include <memory>
#include <sstream>

#include "trainer/commands/common.h"
#include "trainer/run/checkpoint.h"

namespace switchyard::trainer {

namespace {

struct Flags {
  CommonFlags common;
  LoraOptions lora;
  std::string name = "expert", modules = "gate,up,down", layers = "all";
};

Status ParseModules(const std::string& text, LoraOptions* lora) {
  lora->gate = lora->up = lora->down = false;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    if (part == "gate")
      lora->gate = true;
    else if (part == "up")
      lora->up = true;
    else if (part == "down")
      lora->down = true;
    else
      return InvalidArgument("--modules: expected some of gate, up and down, found \"%s\"", part);
  }
  return lora->gate || lora->up || lora->down ? OkStatus() : InvalidArgument("--modules: expected some of gate, up and down, found none");
}

// "all" or FIRST-LAST, from 0, both included.
Status ParseLayers(const std::string& text, int32_t num_layers, LoraOptions* lora) {
  if (text == "all") return OkStatus();
  int first = -1, last = -1, used = 0;
  const bool parsed = std::sscanf(text.c_str(), "%d-%d%n", &first, &last, &used) == 2 && static_cast<size_t>(used) == text.size();
  if (!parsed || first < 0 || last < first || last >= num_layers) {
    return InvalidArgument("--layers: expected all or FIRST-LAST within 0-%d, found \"%s\"", num_layers - 1, text);
  }
  lora->first_layer = first;
  lora->last_layer = last;
  return OkStatus();
}

Status RunExpert(Flags& flags, Communicator& world) {
  RETURN_IF_ERROR(ParseModules(flags.modules, &flags.lora));
  if (flags.lora.rank < 1 || flags.lora.rank > 4096) return InvalidArgument("--rank: expected 1 to 4096, found %d", flags.lora.rank);
  if (flags.lora.dropout < 0 || flags.lora.dropout >= 1) return InvalidArgument("--dropout: expected 0 to 1, found %g", flags.lora.dropout);
  ASSIGN_OR_RETURN(const auto bench, Workbench::Open(flags.common, "expert " + flags.name, world));
  RETURN_IF_ERROR(ParseLayers(flags.layers, bench->base().config.num_layers, &flags.lora));
  std::vector<LoraExpert> experts;
  experts.push_back(NewLoraExpert(bench->compute(), flags.name, bench->base().config, flags.lora, flags.common.seed));
  const auto model = MakeFastModel(bench->compute(), bench->base(), experts, {.recompute = flags.common.recompute});
  RunTask task;
  task.model = model.get();
  task.experts = &experts;
  task.parameters = experts[0].Parameters();
  const std::string decisive = absl::StrFormat("expert|%s|%s|%d|%g|%d|%g", flags.modules, flags.layers, flags.lora.rank, flags.lora.alpha,
                                               flags.lora.rslora, flags.lora.dropout);
  RunOptions options = bench->Options(flags.common, decisive);
  options.lora_dropout = flags.lora.dropout;
  const Dataset* validation = bench->validation().examples.empty() ? nullptr : &bench->validation();
  ASSIGN_OR_RETURN(const RunReport report, Train(task, bench->train(), validation, options, world, bench->log()));
  if (!bench->first()) return OkStatus();
  if (bench->log() != nullptr) RETURN_IF_ERROR(bench->log()->Close());
  if (report.stopped) return Cancelled("stopped at step %d; the same command goes on from there", report.steps);
  RETURN_IF_ERROR(WriteLoraExpert(experts[0], flags.lora, flags.common.base, flags.common.out));
  RETURN_IF_ERROR(CheckpointStore(bench->run_directory() + "/checkpoints").RemoveAll());
  std::printf("%s: expert %s of rank %d; %s\n", flags.common.out.c_str(), flags.name.c_str(), flags.lora.rank, Summary(report).c_str());
  return OkStatus();
}

}  // namespace

void AddExpertCommand(CLI::App& app, Communicator& world, Status* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("expert", "Train a LoRA expert on a frozen base; writes a PEFT directory");
  command->add_option("--name", flags->name)->capture_default_str()->group("Expert");
  command->add_option("--rank", flags->lora.rank)->capture_default_str()->group("Expert");
  command->add_option("--alpha", flags->lora.alpha)->capture_default_str()->group("Expert");
  command->add_flag("--rslora", flags->lora.rslora, "scale alpha / sqrt(rank)")->group("Expert");
  command->add_option("--dropout", flags->lora.dropout, "of the adapters' inputs")->capture_default_str()->group("Expert");
  command->add_option("--modules", flags->modules)->capture_default_str()->group("Expert");
  command->add_option("--layers", flags->layers, "all, or FIRST-LAST from 0: the layers that are adapted; the way back ends at the first")
      ->capture_default_str()
      ->group("Expert");
  flags->common.AddTo(*command, 2e-3);
  command->callback([flags, &world, result] { *result = RunExpert(*flags, world); });
}

}  // namespace switchyard::trainer
