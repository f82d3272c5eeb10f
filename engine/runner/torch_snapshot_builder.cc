#include "engine/runner/torch_snapshot_builder.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <new>
#include <set>
#include <utility>

#include "engine/artifact/peft_adapter.h"
#include "engine/artifact/router_artifact.h"
#include "engine/kernels/thread_pool.h"
#include "engine/runner/masked_router.h"
#include "engine/runner/snapshot_identity.h"

namespace switchyard {
namespace {

// Runs `body`, which returns a Status or StatusOr, on this thread alone and without letting LibTorch's exceptions out.
template <typename Body>
auto Guarded(const std::string& what, const Body& body) -> decltype(body()) {
  try {
    const c10::InferenceMode guard;
    const kernels::RunInline alone;
    return body();
  } catch (const c10::Error& error) {
    return Internal("%s: LibTorch: %s", what, error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("%s: out of memory", what);
  } catch (const std::exception& error) {
    return Internal("%s: %s", what, error.what());
  }
}

// What the packed matrices of the pairs will take, but for their padding.
int64_t ResidentBytes(const PeftAdapter& adapter, at::ScalarType dtype) {
  const int64_t element = dtype == at::kBFloat16 ? 2 : 4;
  int64_t elements = 0;
  for (const LoraLayer& layer : adapter.layers) {
    for (const auto* pair : {&layer.gate, &layer.up, &layer.down}) {
      if (!pair->has_value()) continue;
      for (const TensorView* matrix : {&(*pair)->a, &(*pair)->b}) elements += matrix->shape[0] * matrix->shape[1];
    }
  }
  return elements * element;
}

ExpertInfo InfoOf(const PeftAdapter& adapter, at::ScalarType dtype) {
  ExpertInfo info;
  info.generation = adapter.generation;
  info.max_rank = adapter.max_rank;
  info.bytes = ResidentBytes(adapter, dtype);
  info.untrained = adapter.untrained;
  info.notes.push_back(absl::StrFormat("rank up to %d, %d of %d tensors loaded, %d ignored%s", adapter.max_rank, adapter.coverage.loaded,
                                       adapter.coverage.expected, adapter.coverage.ignored.size(), adapter.untrained ? ", untrained" : ""));
  return info;
}

RouterInfo InfoOf(const RouterArtifact& artifact) {
  const RouterManifest& manifest = artifact.manifest;
  RouterInfo info;
  info.name = manifest.name;
  info.kind = manifest.kind;
  info.generation = artifact.generation;
  info.base_generation = manifest.base_generation;
  for (const RouterExpertBinding& expert : manifest.experts) info.experts.push_back({expert.name, expert.generation, expert.is_zero});
  info.top_k = manifest.top_k;
  info.separable = !manifest.derive.empty();
  for (const auto& [name, tensor] : artifact.tensors->tensors()) {
    if (!name.starts_with("probe.")) info.bytes += static_cast<int64_t>(tensor.data.size());
  }
  info.untrained = manifest.untrained;
  info.load_shares = manifest.load_shares;
  info.notes.push_back(absl::StrFormat("%s, top %d of %d, %d golden probes a layer%s", manifest.kind, manifest.top_k,
                                       manifest.experts.size(), manifest.golden_probes, manifest.untrained ? ", untrained" : ""));
  return info;
}

Status CheckBase(const RouterInfo& router, const std::string& directory, const std::string& base) {
  if (router.base_generation == base) return OkStatus();
  return FailedPrecondition("%s: router %s is bound to base %s, served is base %s", directory, router.name, router.base_generation, base);
}

bool Same(const RouterInfo::Binding& bound, const SnapshotPlan::Entry& entry) {
  const ExpertInfo& served = entry.part->info();
  // A zero expert is the same thing under any name; its name is its identity, as for any other.
  return bound.name == entry.name && (bound.is_zero ? served.is_zero : bound.generation == served.generation);
}

// The served experts in snapshot order, and where the router's logits go.
struct Order {
  std::vector<const SnapshotPlan::Entry*> entries;
  std::vector<const SnapshotPlan::Entry*> derived;  // of those, what the router was not made with and scores nevertheless
  std::vector<int32_t> place;                       // [experts of the router, then derived]: index in `entries`, -1: not served
  size_t live = 0;                                  // experts the router can choose
  bool whole = true;                                // each of `place` is served, and no others are
  bool exact = true;                                // and the plan lists just the router's own experts, in the router's order
};

Order OrderOf(const SnapshotPlan& plan) {
  Order order;
  std::set<const SnapshotPlan::Entry*> placed;
  if (plan.router != nullptr) {
    for (const RouterInfo::Binding& bound : plan.router->info().experts) {
      const auto found = std::find_if(plan.experts.begin(), plan.experts.end(), [&](const auto& entry) { return Same(bound, entry); });
      order.place.push_back(found == plan.experts.end() ? -1 : static_cast<int32_t>(order.entries.size()));
      order.whole &= found != plan.experts.end();
      if (found == plan.experts.end()) continue;
      order.entries.push_back(&*found);
      placed.insert(&*found);
    }
  }
  // The zero expert has no matrices to be scored by: what it scores is the artifact's to say.
  for (const SnapshotPlan::Entry& entry : plan.experts) {
    if (plan.router == nullptr || !plan.router->info().separable || placed.contains(&entry) || entry.part->info().is_zero) continue;
    order.place.push_back(static_cast<int32_t>(order.entries.size()));
    order.entries.push_back(&entry);
    order.derived.push_back(&entry);
    placed.insert(&entry);
  }
  order.live = order.entries.size();
  for (const SnapshotPlan::Entry& entry : plan.experts) {
    if (!placed.contains(&entry)) order.entries.push_back(&entry);
  }
  if (plan.router == nullptr) return order;
  order.whole &= order.entries.size() == order.live;
  order.exact = order.whole && order.derived.empty();
  for (size_t i = 0; i < order.entries.size(); ++i) order.exact &= order.entries[i] == &plan.experts[i];
  return order;
}

std::string Lists(const SnapshotPlan& plan) {
  const auto add = [](const std::string& name, const std::string& generation, std::string* list) {
    absl::StrAppendFormat(list, "%s%s %s", list->empty() ? "" : ", ", name, generation.substr(0, 12));
  };
  std::string bound, served;
  for (const RouterInfo::Binding& expert : plan.router->info().experts) add(expert.name, expert.generation, &bound);
  for (const SnapshotPlan::Entry& entry : plan.experts) add(entry.name, entry.part->info().generation, &served);
  return absl::StrFormat("bound to [%s], served are [%s]", bound, served);
}

// The router's load shares over the experts it can choose, in the snapshot's order: nothing for one that it was not made with. Shares of
// experts that are not served are left out.
std::vector<float> TrainedLoad(const RouterInfo& router, const std::vector<int32_t>& place) {
  std::vector<float> load;
  for (const std::vector<float>& layer : router.load_shares) {
    for (size_t e = 0; e < place.size(); ++e) {
      if (place[e] >= 0) load.push_back(e < layer.size() ? layer[e] : 0.0f);
    }
  }
  return load;
}

ExpertGates GatesOf(const Expert& expert, const Compute& compute) {
  ExpertGates gates;
  for (const ExpertLayer& layer : expert.layers) {
    GateMatrices matrices;
    if (layer.gate) matrices = {layer.gate->A(compute.pool), layer.gate->B(compute.pool), layer.gate->scale()};
    gates.layers.push_back(std::move(matrices));
  }
  return gates;
}

// The router of a snapshot: that of the plan, grown by what it scores from experts' own matrices, masked by what is not served.
StatusOr<std::shared_ptr<const Router>> RouterOf(const SnapshotPlan& plan, const Order& order, const Compute& compute) {
  const RouterInfo& about = plan.router->info();
  const auto* part = dynamic_cast<const TorchRouterPart*>(plan.router.get());
  if (part == nullptr) return Internal("router %s was not loaded by this builder", about.name);
  if (!order.exact && !plan.allow_masking) return FailedPrecondition("router %s is %s", about.name, Lists(plan));
  if (order.live == 0) return FailedPrecondition("router %s knows none of the experts: it is %s", about.name, Lists(plan));
  auto router = std::shared_ptr<const Router>(plan.router, &part->router());
  if (!order.derived.empty()) {
    std::vector<ExpertGates> gates;
    for (const SnapshotPlan::Entry* entry : order.derived) {
      const auto* expert = dynamic_cast<const TorchExpertPart*>(entry->part.get());
      if (expert == nullptr) return Internal("expert %s was not loaded by this builder", entry->name);
      gates.push_back(GatesOf(expert->expert(), compute));
    }
    ASSIGN_OR_RETURN(router, WithExperts(std::move(router), gates));
  }
  if (!order.whole) router = std::make_shared<MaskedRouter>(std::move(router), order.place, static_cast<int32_t>(order.entries.size()));
  return router;
}

Status CheckPlan(const SnapshotPlan& plan) {
  std::set<std::string> names;
  int zeros = 0;
  for (const SnapshotPlan::Entry& entry : plan.experts) {
    if (entry.name.empty() || entry.part == nullptr) return InvalidArgument("an expert of the snapshot has no name or no part");
    if (!names.insert(entry.name).second) return InvalidArgument("two experts are named %s", entry.name);
    if (entry.part->info().is_zero && ++zeros > 1) return InvalidArgument("expert %s is a second zero expert", entry.name);
  }
  return OkStatus();
}

}  // namespace

StatusOr<ExpertInfo> TorchSnapshotBuilder::InspectExpert(const std::string& directory) {
  return Guarded(directory, [&]() -> StatusOr<ExpertInfo> {
    if (directory.empty()) return ExpertInfo{.generation = "zero", .is_zero = true};
    ASSIGN_OR_RETURN(const PeftAdapter adapter,
                     ReadPeftAdapter(directory, base_->model->config, {.allow_attention = options_.allow_attention_lora}));
    return InfoOf(adapter, base_->compute.weight_dtype);
  });
}

StatusOr<RouterInfo> TorchSnapshotBuilder::InspectRouter(const std::string& directory) {
  return Guarded(directory, [&]() -> StatusOr<RouterInfo> {
    ASSIGN_OR_RETURN(const RouterArtifact artifact, ReadRouterArtifact(directory));
    RouterInfo info = InfoOf(artifact);
    RETURN_IF_ERROR(CheckBase(info, directory, base_generation()));
    return info;
  });
}

StatusOr<std::shared_ptr<const ExpertPart>> TorchSnapshotBuilder::LoadExpert(const std::string& directory) {
  return Guarded(directory, [&]() -> StatusOr<std::shared_ptr<const ExpertPart>> {
    if (directory.empty()) {
      return std::make_shared<const TorchExpertPart>(ExpertInfo{.generation = "zero", .is_zero = true}, base_,
                                                     ZeroExpert(about_base_.num_layers));
    }
    ASSIGN_OR_RETURN(const PeftAdapter adapter,
                     ReadPeftAdapter(directory, base_->model->config, {.allow_attention = options_.allow_attention_lora}));
    ASSIGN_OR_RETURN(std::shared_ptr<const Expert> expert, switchyard::LoadExpert(adapter, base_->compute));
    ExpertInfo info = InfoOf(adapter, base_->compute.weight_dtype);
    info.bytes = expert->bytes;
    return std::make_shared<const TorchExpertPart>(std::move(info), base_, std::move(expert));
  });
}

StatusOr<std::shared_ptr<const RouterPart>> TorchSnapshotBuilder::LoadRouter(const std::string& directory) {
  return Guarded(directory, [&]() -> StatusOr<std::shared_ptr<const RouterPart>> {
    ASSIGN_OR_RETURN(const RouterArtifact artifact, ReadRouterArtifact(directory));
    RouterInfo info = InfoOf(artifact);
    RETURN_IF_ERROR(CheckBase(info, directory, base_generation()));
    ASSIGN_OR_RETURN(std::unique_ptr<Router> router, switchyard::LoadRouter(artifact, base_->compute));
    if (router->num_layers() != about_base_.num_layers) {
      return FailedPrecondition("%s: routes %d layers, the base has %d", directory, router->num_layers(), about_base_.num_layers);
    }
    if (router->vocabulary() > 0 && router->vocabulary() != about_base_.vocab_size) {
      return FailedPrecondition("%s: has routes for %d token ids, the base has %d", directory, router->vocabulary(),
                                about_base_.vocab_size);
    }
    RETURN_IF_ERROR(ReplayGoldenProbes(artifact, *router, base_->compute));
    info.bytes = router->bytes();
    return std::make_shared<const TorchRouterPart>(std::move(info), base_, std::move(router));
  });
}

StatusOr<std::shared_ptr<const Snapshot>> TorchSnapshotBuilder::Build(const SnapshotPlan& plan) {
  return Guarded("building a snapshot", [&]() -> StatusOr<std::shared_ptr<const Snapshot>> {
    RETURN_IF_ERROR(CheckPlan(plan));
    const Order order = OrderOf(plan);
    SnapshotInfo info = about_base_;
    ExpertBank bank;
    for (const SnapshotPlan::Entry* entry : order.entries) {
      const ExpertInfo& expert = entry->part->info();
      info.experts.push_back({entry->name, expert.generation, expert.is_zero, expert.max_rank, expert.bytes});
      const auto* part = dynamic_cast<const TorchExpertPart*>(entry->part.get());
      if (part == nullptr) return Internal("expert %s was not loaded by this builder", entry->name);
      bank.emplace_back(entry->part, &part->expert());
    }
    std::shared_ptr<const Router> router;
    if (plan.router != nullptr) {
      const RouterInfo& about = plan.router->info();
      ASSIGN_OR_RETURN(router, RouterOf(plan, order, base_->compute));
      info.router_name = about.name;
      info.router_kind = about.kind;
      info.router_generation = about.generation;
      info.router_bytes = about.bytes;
      info.top_k = router->rule().top_k;
      info.learned_experts = static_cast<int>(order.live);
      info.trained_load = TrainedLoad(about, order.place);
    }
    info.generation = SnapshotGeneration(info, router == nullptr ? nullptr : &router->rule());
    return std::make_shared<const TorchSnapshot>(std::move(info), base_, std::move(bank), std::move(router));
  });
}

}  // namespace switchyard
