#include "trainer/run/publish.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <numeric>
#include <span>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/router_artifact.h"
#include "engine/artifact/safetensors.h"
#include "engine/stats/load.h"
#include "trainer/data/batch_sampler.h"
#include "trainer/nn/tensor_views.h"
#include "trainer/run/router_assembly.h"

namespace switchyard::trainer {

namespace {

constexpr size_t kLoadExamples = 256, kLoadBatch = 4;

std::string WeightModeOf(const RouterOptions& options) {
  return options.gate == "raw" || options.gate == "sigmoid" ? options.gate : "renorm";
}

Status AddProbes(TrainableModel& model, const RouterModule& router, const Dataset& data, std::vector<TensorView>* tensors,
                 RouterManifest* manifest) {
  std::vector<int64_t> some(std::min<size_t>(data.examples.size(), 16));
  std::iota(some.begin(), some.end(), 0);
  RoutePlan plan;
  plan.router = &router;
  EvaluationDetail detail;
  RETURN_IF_ERROR(model.Evaluate(Pack(data, some), plan, &detail).status());
  // As many a layer as the least clear layer has: a router may be undecided everywhere.
  size_t count = std::numeric_limits<size_t>::max();
  for (const LayerRoutes& routes : detail.routes) count = std::min(count, ClearRows(routes).size());
  if (count == 0) return OkStatus();
  for (int32_t l = 0; l < router.num_layers(); ++l) {
    const LayerRoutes& routes = detail.routes[l];
    std::vector<int64_t> rows = ClearRows(routes);
    rows.resize(count);
    std::vector<int32_t> experts;
    std::vector<float> weights;
    for (const int64_t row : rows) {
      for (int64_t slot = row * routes.k; slot < (row + 1) * routes.k; ++slot) {
        experts.push_back(routes.experts[slot]);
        weights.push_back(routes.weights[slot]);
      }
    }
    const std::string prefix = absl::StrFormat("probe.layers.%d.", l);
    const std::vector<int64_t> shape = {static_cast<int64_t>(count), routes.k};
    tensors->push_back(ViewOf(prefix + "x", detail.router_inputs[l].index_select(0, at::tensor(rows, at::kLong))));
    tensors->push_back(ViewOf(prefix + "experts", at::tensor(experts, at::kInt).view(shape)));
    tensors->push_back(ViewOf(prefix + "weights", at::tensor(weights, at::kFloat).view(shape)));
  }
  manifest->golden_probes = static_cast<int32_t>(count);
  return OkStatus();
}

// Examples spread evenly over the data, in batches of a few: enough for shares good to a percent, a fraction of an epoch.
std::vector<std::vector<int64_t>> SampleOf(const Dataset& data) {
  const size_t count = std::min<size_t>(data.examples.size(), kLoadExamples);
  std::vector<std::vector<int64_t>> batches;
  for (size_t begin = 0; begin < count; begin += kLoadBatch) {
    std::vector<int64_t>& some = batches.emplace_back();
    for (size_t i = begin; i < std::min(count, begin + kLoadBatch); ++i)
      some.push_back(static_cast<int64_t>(i * data.examples.size() / count));
  }
  return batches;
}

StatusOr<std::vector<std::vector<float>>> MeasureLoad(TrainableModel& model, const RouterModule& router, const Dataset& data) {
  RoutePlan plan;
  plan.router = &router;
  PassResult sum;
  for (const std::vector<int64_t>& some : SampleOf(data)) {
    ASSIGN_OR_RETURN(const PassResult result, model.Evaluate(Pack(data, some), plan, nullptr));
    Add(result, &sum);
  }
  std::vector<std::vector<float>> shares;
  const size_t experts = sum.expert_rows.size() / static_cast<size_t>(router.num_layers());
  for (int32_t l = 0; l < router.num_layers() && sum.rows > 0; ++l) {
    const LoadFigures load = ComputeLoad(std::span(sum.expert_rows).subspan(static_cast<size_t>(l) * experts, experts));
    shares.emplace_back(load.share.begin(), load.share.end());
  }
  return shares;
}

// [L] of [N, E]: what the router made of the sample.
StatusOr<std::vector<at::Tensor>> ProbabilitiesOf(TrainableModel& model, const RouterModule& router, const Dataset& data) {
  RoutePlan plan;
  plan.router = &router;
  std::vector<std::vector<at::Tensor>> parts(static_cast<size_t>(router.num_layers()));
  for (const std::vector<int64_t>& some : SampleOf(data)) {
    EvaluationDetail detail;
    RETURN_IF_ERROR(model.Evaluate(Pack(data, some), plan, &detail).status());
    for (int32_t l = 0; l < router.num_layers(); ++l) {
      ASSIGN_OR_RETURN(const RouterOutput out, router.Forward(l, detail.router_inputs[l], nullptr));
      parts[l].push_back(out.probabilities);
    }
  }
  std::vector<at::Tensor> all;
  for (const auto& layer : parts) all.push_back(at::cat(layer));
  return all;
}

}  // namespace

Status CalibrateTrained(TrainableModel& model, RouterModule& router, const Dataset& train) {
  if (!router.calibrates()) return OkStatus();
  if (train.examples.empty()) return InvalidArgument("a router of kind %s is calibrated over --data", router.options().kind);
  for (int round = 0; round < 2; ++round) {
    ASSIGN_OR_RETURN(const std::vector<at::Tensor> probabilities, ProbabilitiesOf(model, router, train));
    for (int32_t l = 0; l < router.num_layers(); ++l) router.Calibrate(l, probabilities[l]);
  }
  return OkStatus();
}

Status PublishRouter(TrainableModel& model, const BaseWeights& base, const std::vector<LoraExpert>& experts, const RouterModule& router,
                     const Dataset& train, const Dataset& probes, const RouterPublication& publication) {
  RouterManifest manifest;
  manifest.name = publication.name;
  manifest.kind = router.options().kind;
  manifest.top_k = router.options().top_k;
  manifest.weight_mode = WeightModeOf(router.options());
  manifest.base_generation = base.generation;
  manifest.num_layers = base.config.num_layers;
  manifest.hidden_size = base.config.hidden_size;
  manifest.untrained = publication.untrained;
  manifest.training = publication.training;
  for (const LoraExpert& expert : experts) manifest.experts.push_back({expert.name, expert.generation, expert.is_zero});
  std::vector<TensorView> tensors;
  for (int32_t l = 0; l < router.num_layers(); ++l) {
    for (TensorView& view : router.Tensors(l)) tensors.push_back(std::move(view));
  }
  if (!router.looks_at_tokens()) RETURN_IF_ERROR(AddProbes(model, router, probes, &tensors, &manifest));
  ASSIGN_OR_RETURN(manifest.load_shares, MeasureLoad(model, router, train));
  return WriteRouterArtifact(publication.directory, manifest, tensors);
}

Status PublishBase(const BaseWeights& base, const std::vector<Parameter>& attention, const std::string& directory) {
  ASSIGN_OR_RETURN(const auto tensors, SafetensorsSet::OpenModelDirectory(base.directory));
  std::map<std::string, at::Tensor> changed;
  const ModelConfig& c = base.config;
  const int64_t q = int64_t{c.num_heads} * c.head_dim, kv = int64_t{c.num_kv_heads} * c.head_dim;
  for (const Parameter& parameter : attention) {
    if (!parameter.name.ends_with(".qkv")) {
      changed[parameter.name + ".weight"] = parameter.value;
      continue;
    }
    const std::string prefix = parameter.name.substr(0, parameter.name.size() - 3);
    changed[prefix + "q_proj.weight"] = parameter.value.slice(0, 0, q);
    changed[prefix + "k_proj.weight"] = parameter.value.slice(0, q, q + kv);
    changed[prefix + "v_proj.weight"] = parameter.value.slice(0, q + kv, q + 2 * kv);
  }
  std::vector<TensorView> views;
  for (const auto& [name, view] : tensors->tensors()) {
    const auto found = changed.find(name);
    views.push_back(found == changed.end() ? view : ViewOf(name, found->second.to(view.dtype == DType::kF32 ? at::kFloat : at::kBFloat16)));
  }
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(directory));
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(base.directory, error)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") || name.starts_with("."))
      continue;
    std::filesystem::copy_file(entry.path(), staged.path() + "/" + name, error);
    if (error) return FailedPrecondition("%s: cannot be copied: %s", entry.path().string(), error.message());
  }
  RETURN_IF_ERROR(WriteSafetensors(staged.path() + "/model.safetensors", views, {{"format", "pt"}}));
  return staged.Publish();
}

}  // namespace switchyard::trainer
