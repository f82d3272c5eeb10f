#include "trainer/compare/contestant.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "engine/artifact/fixtures_internal.h"
#include "engine/artifact/peft_adapter.h"
#include "engine/artifact/router_artifact.h"
#include "trainer/compare/cost.h"

namespace switchyard::trainer {
namespace {

StatusOr<double> ExpertFlops(const std::string& directory, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const PeftAdapter adapter, ReadPeftAdapter(directory, config, {}));
  double flops = 0;
  for (const LoraLayer& layer : adapter.layers) {
    for (const auto* pair : {&layer.gate, &layer.up, &layer.down}) {
      if (pair->has_value()) flops += 2.0 * static_cast<double>((*pair)->a.elements() + (*pair)->b.elements());
    }
  }
  return flops;
}

}  // namespace

int16_t Contestant::zero_expert() const {
  const auto& experts = snapshot->info().experts;
  for (size_t e = 0; e < experts.size(); ++e) {
    if (experts[e].is_zero) return static_cast<int16_t>(e);
  }
  return -1;
}

StatusOr<std::unique_ptr<Roster>> Roster::Open(const RosterOptions& options, const std::vector<QuestionSet>& sets) {
  std::unique_ptr<Roster> roster(new Roster(options, sets));
  RETURN_IF_ERROR(roster->Load());
  return roster;
}

const std::string* Roster::FirstRouter() const {
  for (const MethodSpec& method : options_.methods) {
    if (method.kind == MethodKind::kRouter) return &method.directories.front();
  }
  return nullptr;
}

Status Roster::Load() {
  ASSIGN_OR_RETURN(config_, ReadModelConfig(options_.runner.base_directory));
  ASSIGN_OR_RETURN(loaded_, LoadRunner(options_.runner));
  for (const NamedList& expert : options_.experts) {
    if (expert.items.size() != 1) return InvalidArgument("--expert %s: expected one directory", expert.name);
    auto part = loaded_.builder->LoadExpert(expert.items.front());
    if (!part.ok()) return Annotate(part.status(), "expert " + expert.name);
    ASSIGN_OR_RETURN(const double flops, ExpertFlops(expert.items.front(), config_));
    experts_.push_back({expert.name, expert.items.front(), *std::move(part), flops});
  }
  for (const MethodSpec& method : options_.methods) {
    std::vector<Contestant>& artifacts = contestants_.emplace_back();
    if (method.kind == MethodKind::kRouter) {
      for (const std::string& directory : method.directories) {
        ASSIGN_OR_RETURN(Contestant contestant, Add(method.name, directory, method.top_k));
        artifacts.push_back(std::move(contestant));
      }
    } else if (method.kind == MethodKind::kRandom) {
      ASSIGN_OR_RETURN(const std::string directory, RandomRouter());
      ASSIGN_OR_RETURN(Contestant contestant, Add(method.name, directory, 0));
      artifacts.push_back(std::move(contestant));
    } else {
      ASSIGN_OR_RETURN(Contestant contestant, Fixed(method.kind));
      artifacts.push_back(std::move(contestant));
    }
  }
  return OkStatus();
}

StatusOr<Contestant> Roster::Add(const std::string& label, const std::string& directory, int32_t top_k) {
  std::string path = directory;
  if (top_k > 0) {
    ASSIGN_OR_RETURN(path, WithTopK(label, directory, top_k));
  }
  SnapshotPlan plan;
  ASSIGN_OR_RETURN(plan.router, loaded_.builder->LoadRouter(path));
  const RouterInfo& info = plan.router->info();
  Contestant contestant;
  contestant.directory = directory;
  contestant.kind = info.kind;
  contestant.top_k = info.top_k;
  for (const RouterInfo::Binding& bound : info.experts) {
    if (bound.is_zero) {
      ASSIGN_OR_RETURN(auto zero, loaded_.builder->LoadExpert(""));
      plan.experts.push_back({bound.name, std::move(zero)});
      contestant.expert_flops.push_back(0);
      continue;
    }
    const auto found = std::find_if(experts_.begin(), experts_.end(), [&](const ResidentExpert& expert) {
      return expert.name == bound.name && expert.part->info().generation == bound.generation;
    });
    if (found == experts_.end()) {
      return NotFound("%s: the router is bound to expert %s of generation %s; no --expert %s=DIRECTORY holds it", directory, bound.name,
                      bound.generation.substr(0, 12), bound.name);
    }
    plan.experts.push_back({bound.name, found->part});
    contestant.expert_flops.push_back(found->flops);
    contestant.expert_bytes += found->part->info().bytes;
  }
  auto snapshot = loaded_.builder->Build(plan);
  if (!snapshot.ok()) return Annotate(snapshot.status(), directory);
  contestant.snapshot = *std::move(snapshot);
  contestant.router_bytes = info.bytes;
  contestant.policies.resize(sets_.size());
  ASSIGN_OR_RETURN(const RouterArtifact artifact, ReadRouterArtifact(path));
  contestant.router_flops = RouterFlops(artifact);
  return contestant;
}

// The base, or the oracle, on the snapshot of the first router: same experts, another policy.
StatusOr<Contestant> Roster::Fixed(MethodKind kind) {
  Contestant contestant;
  contestant.kind = kind == MethodKind::kBase ? "base" : "oracle";
  contestant.policies.assign(sets_.size(), RoutingPolicy{.mode = RoutingPolicy::Mode::kBaseOnly});
  const std::string* router = FirstRouter();
  if (router == nullptr && kind == MethodKind::kOracle)
    return InvalidArgument("--method oracle needs a method with a router: its experts are used");
  if (router == nullptr) {
    contestant.snapshot = loaded_.runner->snapshot();
    return contestant;
  }
  ASSIGN_OR_RETURN(Contestant like, Add(contestant.kind, *router, 0));
  contestant.snapshot = like.snapshot;
  contestant.expert_flops = like.expert_flops;
  if (kind == MethodKind::kBase) return contestant;
  contestant.top_k = 1;
  contestant.expert_bytes = like.expert_bytes;
  const auto& experts = like.snapshot->info().experts;
  const int16_t zero = contestant.zero_expert();
  if (zero >= 0) contestant.policies.assign(sets_.size(), {.mode = RoutingPolicy::Mode::kForced, .forced = zero});
  for (size_t s = 0; s < sets_.size(); ++s) {
    for (size_t e = 0; e < experts.size(); ++e) {
      if (experts[e].name != sets_[s].name || experts[e].is_zero) continue;
      contestant.policies[s] = {.mode = RoutingPolicy::Mode::kForced, .forced = static_cast<ExpertIndex>(e)};
    }
  }
  return contestant;
}

StatusOr<std::string> Roster::WithTopK(const std::string& label, const std::string& directory, int32_t top_k) {
  ASSIGN_OR_RETURN(const RouterArtifact artifact, ReadRouterArtifact(directory));
  RouterManifest manifest = artifact.manifest;
  const auto experts = static_cast<int32_t>(manifest.experts.size());
  if (top_k > experts) return InvalidArgument("%s: top_k %d, but it has %d experts", directory, top_k, experts);
  manifest.top_k = top_k;
  manifest.golden_probes = 0;  // they are of the old k
  std::vector<TensorView> tensors;
  for (const auto& [name, tensor] : artifact.tensors->tensors()) {
    if (!name.starts_with("probe.")) tensors.push_back(tensor);
  }
  const std::string path = absl::StrFormat("%s/%s-%s-top%d", options_.work_directory, label, artifact.generation.substr(0, 12), top_k);
  if (std::filesystem::exists(path)) return path;  // by its generation it is the same
  RETURN_IF_ERROR(WriteRouterArtifact(path, std::move(manifest), tensors));
  return path;
}

StatusOr<std::string> Roster::RandomRouter() {
  const std::string* router = FirstRouter();
  if (router == nullptr) return InvalidArgument("--method random needs a method with a router: its experts are used");
  ASSIGN_OR_RETURN(const RouterArtifact like, ReadRouterArtifact(*router));
  RouterManifest manifest;
  manifest.name = "random";
  manifest.kind = "dense2moe_mlp";
  manifest.top_k = like.manifest.top_k;
  manifest.weight_mode = "renorm";
  manifest.base_generation = like.manifest.base_generation;
  manifest.num_layers = like.manifest.num_layers;
  manifest.hidden_size = like.manifest.hidden_size;
  manifest.experts = like.manifest.experts;
  manifest.untrained = true;
  ASSIGN_OR_RETURN(const std::vector<TensorView> tensors, SeededRouterTensors(&manifest, options_.seed));
  const std::string path = absl::StrFormat("%s/random-%s-%d", options_.work_directory, like.generation.substr(0, 12), options_.seed);
  if (std::filesystem::exists(path)) return path;
  RETURN_IF_ERROR(WriteRouterArtifact(path, std::move(manifest), tensors));
  return path;
}

}  // namespace switchyard::trainer
