#include "trainer/run/router_assembly.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "engine/routing/selection.h"
#include "trainer/nn/tensor_views.h"

namespace switchyard::trainer {

namespace {

constexpr size_t kProbes = 4;
constexpr float kClearMargin = 1e-2f;

std::string NameOf(int32_t layer, const std::string& name) { return absl::StrFormat("layers.%d.router.%s", layer, name); }

std::vector<TensorView> Views(const std::map<std::string, at::Tensor>& tensors) {
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : tensors) views.push_back(ViewOf(name, tensor));
  return views;
}

StatusOr<LayerRoutes> RoutesOf(const Router& router, int32_t layer, const at::Tensor& rows) {
  const at::Tensor logits = router.Logits(layer, rows);
  const auto experts = static_cast<size_t>(logits.size(1));
  LayerRoutes routes;
  routes.Resize(rows.size(0), router.rule().top_k);
  for (int64_t row = 0; row < routes.rows; ++row) {
    RETURN_IF_ERROR(SelectRow({logits.const_data_ptr<float>() + row * logits.size(1), experts}, router.rule(), {}, row, &routes,
                              router.SelectionBias(layer), router.SelectionFloor(layer)));
  }
  return routes;
}

template <typename T>
at::Tensor Picked(const std::vector<T>& slots, int32_t k, const std::vector<int64_t>& rows, at::ScalarType dtype) {
  std::vector<float> values;
  for (const int64_t row : rows) {
    for (int64_t slot = row * k; slot < (row + 1) * k; ++slot) values.push_back(static_cast<float>(slots[slot]));
  }
  return at::tensor(values, at::kFloat).view({static_cast<int64_t>(rows.size()), k}).to(dtype);
}

}  // namespace

std::vector<int64_t> ClearRows(const LayerRoutes& routes) {
  std::vector<int64_t> rows(static_cast<size_t>(routes.rows));
  std::iota(rows.begin(), rows.end(), 0);
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) { return routes.margin[a] > routes.margin[b]; });
  std::vector<int64_t> clear;
  for (const int64_t row : rows) {
    if (clear.size() == kProbes || !(routes.margin[row] > kClearMargin)) break;
    clear.push_back(row);
  }
  return clear;
}

StatusOr<RouterAssembly> RouterAssembly::From(const RouterArtifact& artifact) {
  RouterAssembly assembly(artifact.manifest);
  assembly.manifest_.golden_probes = 0;
  for (const auto& [name, view] : artifact.tensors->tensors()) {
    if (name.starts_with("probe.")) continue;
    ASSIGN_OR_RETURN(assembly.tensors_[name], TensorFromView(view, at::kFloat));
  }
  return assembly;
}

void RouterAssembly::Set(int32_t layer, const std::string& name, const at::Tensor& value) {
  tensors_[NameOf(layer, name)] = value.contiguous();
}

const at::Tensor* RouterAssembly::Find(int32_t layer, const std::string& name) const {
  const auto found = tensors_.find(NameOf(layer, name));
  return found == tensors_.end() ? nullptr : &found->second;
}

RouterArtifact RouterAssembly::Artifact() const {
  RouterArtifact artifact;
  artifact.manifest = manifest_;
  artifact.directory = "router " + manifest_.name;
  artifact.tensors = SafetensorsFile::Of(Views(tensors_));
  return artifact;
}

Status RouterAssembly::SetProbes(const std::vector<at::Tensor>& rows, const Compute& compute) {
  manifest_.golden_probes = 0;
  std::erase_if(tensors_, [](const auto& entry) { return entry.first.starts_with("probe."); });
  ASSIGN_OR_RETURN(const std::unique_ptr<Router> router, Route(compute));
  std::vector<LayerRoutes> routes;
  size_t count = kProbes;
  for (int32_t l = 0; l < manifest_.num_layers; ++l) {
    ASSIGN_OR_RETURN(LayerRoutes layer, RoutesOf(*router, l, rows[l]));
    count = std::min(count, ClearRows(layer).size());
    routes.push_back(std::move(layer));
  }
  if (count == 0) return OkStatus();
  for (int32_t l = 0; l < manifest_.num_layers; ++l) {
    std::vector<int64_t> clear = ClearRows(routes[l]);
    clear.resize(count);
    const std::string prefix = absl::StrFormat("probe.layers.%d.", l);
    tensors_[prefix + "x"] = rows[l].index_select(0, at::tensor(clear, at::kLong)).to(at::kFloat);
    tensors_[prefix + "experts"] = Picked(routes[l].experts, routes[l].k, clear, at::kInt);
    tensors_[prefix + "weights"] = Picked(routes[l].weights, routes[l].k, clear, at::kFloat);
  }
  manifest_.golden_probes = static_cast<int32_t>(count);
  return OkStatus();
}

Status RouterAssembly::Write(const std::string& directory) const { return WriteRouterArtifact(directory, manifest_, Views(tensors_)); }

}  // namespace switchyard::trainer
