// switchyard-trainer placement: which experts a router takes together, and how they should lie on several devices.
#include <cstdio>
#include <filesystem>
#include <memory>

#include "engine/artifact/atomic_file.h"
#include "trainer/commands/common.h"
#include "trainer/commands/experts.h"
#include "trainer/placement/report.h"
#include "trainer/run/observed_routes.h"

namespace switchyard::trainer {

namespace {

struct Flags {
  CommonFlags common;
  ExpertFlags experts;
  PlacementOptions placement;
  std::string router, out;
};

Status RunPlacement(Flags& flags, Communicator& world) {
  flags.common.validation_share = 0;
  flags.common.quiet = true;
  flags.common.tensorboard = false;
  if (std::filesystem::exists(flags.out)) return AlreadyExists("--out %s is there already: choose another name or remove it", flags.out);
  ASSIGN_OR_RETURN(const auto bench, Workbench::Open(flags.common, "placement", world));
  ASSIGN_OR_RETURN(std::vector<LoraExpert> experts, OpenExperts(flags.experts, bench->compute(), bench->base().config, false, 1));
  ASSIGN_OR_RETURN(const auto router, OpenPublishedRouter(flags.router, bench->base(), experts, {}));
  if (!bench->first()) return OkStatus();
  const auto model = MakeFastModel(bench->compute(), bench->base(), experts, {});
  ASSIGN_OR_RETURN(const RouteRecord record, RecordRoutes(*model, *router, experts, bench->train()));
  for (const LoraExpert& expert : experts) {
    if (!expert.is_zero) flags.placement.experts.push_back(expert.name);
  }
  constexpr int64_t kBytesPerValue = 2;  // hidden states travel in bf16
  flags.placement.bytes_per_state = bench->base().config.hidden_size * kBytesPerValue;
  ASSIGN_OR_RETURN(const PlacementReport report, MakePlacementReport(record, flags.placement));
  const std::string markdown = PlacementMarkdown(report);
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(flags.out));
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/placement.md", markdown));
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/placement.json", PlacementJson(report)));
  RETURN_IF_ERROR(staged.Publish());
  // The matrices are in the files.
  std::printf("%s", markdown.substr(0, markdown.find("\n## ")).c_str());
  std::printf("\n%s/placement.md\n%s/placement.json\n", flags.out.c_str(), flags.out.c_str());
  return OkStatus();
}

}  // namespace

void AddPlacementCommand(CLI::App& app, Communicator& world, Status* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "placement", "Which experts a router takes together over a data set, and how they should lie on several devices (after GRACE-MoE)");
  CommonFlags& common = flags->common;
  command->add_option("--base", common.base, "Hugging Face directory of the base model")->required();
  command->add_option("--router", flags->router, "router artifact")->required();
  command->add_option("--data", common.data, "[DOMAIN=]PATH")->required();
  command->add_option("--out", flags->out, "directory that gets placement.md and placement.json")->required();
  command->add_option("--devices", flags->placement.devices, "to place the experts on")->capture_default_str();
  command->add_option("--slack", flags->placement.slack, "how far a device's number of experts may be from the mean")
      ->capture_default_str();
  command->add_option("--format", common.format)->capture_default_str();
  command->add_option("--target", common.target, "text, letter, both or dense2moe")->capture_default_str();
  command->add_option("--template", common.template_file);
  command->add_option("--max-tokens", common.max_tokens)->capture_default_str();
  command->add_option("--max-records", common.max_records)->capture_default_str();
  command->add_option("--dtype", common.dtype)->capture_default_str();
  command->add_option("--threads", common.threads)->capture_default_str();
  flags->experts.AddTo(*command, /*may_be_fresh=*/false);
  command->callback([flags, &world, result] { *result = RunPlacement(*flags, world); });
}

}  // namespace switchyard::trainer
