// Replays the hidden states an artifact carries and compares the routes with those it was published with.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "engine/routing/router.h"

namespace switchyard {

namespace {

// Probabilities move by about this much between fp32 sums of different order, and when x is rounded to bf16.
struct Tolerance {
  float margin, weight;
};
Tolerance ToleranceOf(const Compute& compute) {
  return compute.weight_dtype == at::kBFloat16 ? Tolerance{1e-2f, 2e-2f} : Tolerance{1e-4f, 1e-3f};
}

struct LayerProbes {
  at::Tensor x, experts, weights;  // [P, H] f32, [P, k] i64, [P, k] f32
};

StatusOr<at::Tensor> ReadProbe(const RouterArtifact& artifact, int32_t layer, const char* part, int64_t width, DType dtype,
                               at::ScalarType as) {
  const std::string name = absl::StrFormat("probe.layers.%d.%s", layer, part);
  ASSIGN_OR_RETURN(const TensorView view, artifact.tensors->Get(name));
  const std::vector<int64_t> shape = {artifact.manifest.golden_probes, width};
  if (view.shape != shape || view.dtype != dtype) {
    return InvalidArgument("%s: tensor %s: expected %s %s, found %s %s", artifact.directory, name, DTypeName(dtype), ShapeString(shape),
                           DTypeName(view.dtype), ShapeString(view.shape));
  }
  return TensorFromView(view, as);
}

StatusOr<LayerProbes> ReadProbes(const RouterArtifact& artifact, int32_t layer) {
  LayerProbes probes;
  const int64_t k = artifact.manifest.top_k;
  ASSIGN_OR_RETURN(probes.x, ReadProbe(artifact, layer, "x", artifact.manifest.hidden_size, DType::kF32, at::kFloat));
  ASSIGN_OR_RETURN(probes.experts, ReadProbe(artifact, layer, "experts", k, DType::kI32, at::kLong));
  ASSIGN_OR_RETURN(probes.weights, ReadProbe(artifact, layer, "weights", k, DType::kF32, at::kFloat));
  return probes;
}

// The weight the probe gives `expert`, or a negative number when it did not select it. The order of the slots is not compared: two selected
// experts may have equal scores.
float ExpectedWeight(const int64_t* experts, const float* weights, int32_t k, int64_t expert) {
  const int64_t* found = std::find(experts, experts + k, expert);
  return found == experts + k ? -1.0f : weights[found - experts];
}

bool SameRoute(const LayerRoutes& routes, const LayerProbes& probes, int64_t row, const Tolerance& tolerance) {
  const int32_t k = routes.k;
  const int64_t* experts = probes.experts.const_data_ptr<int64_t>() + row * k;
  const float* weights = probes.weights.const_data_ptr<float>() + row * k;
  const int16_t* chosen = routes.experts.data() + row * k;
  if (std::count(chosen, chosen + k, LayerRoutes::kUnused) != std::count(experts, experts + k, int64_t{LayerRoutes::kUnused})) return false;
  for (int32_t slot = 0; slot < k; ++slot) {
    const float expected = ExpectedWeight(experts, weights, k, routes.experts[row * k + slot]);
    if (expected < 0 || !(std::fabs(expected - routes.weights[row * k + slot]) <= tolerance.weight)) return false;
  }
  return true;
}

std::string RouteText(const auto* experts, const float* weights, int32_t k) {
  std::string text;
  for (int32_t slot = 0; slot < k; ++slot) text += absl::StrFormat("%s%d:%.4f", slot == 0 ? "" : " ", experts[slot], weights[slot]);
  return "[" + text + "]";
}

Status ReplayLayer(const RouterArtifact& artifact, const Router& router, const Compute& compute, int32_t layer) {
  ASSIGN_OR_RETURN(const LayerProbes probes, ReadProbes(artifact, layer));
  const Tolerance tolerance = ToleranceOf(compute);
  const int32_t k = artifact.manifest.top_k;
  const at::Tensor logits = router.Logits(layer, probes.x.to(compute.activation_dtype()));
  const size_t experts = static_cast<size_t>(router.num_experts());
  LayerRoutes routes;
  routes.Resize(probes.x.size(0), k);
  for (int64_t row = 0; row < routes.rows; ++row) {
    const Status selected = SelectRow({logits.const_data_ptr<float>() + row * experts, experts}, router.rule(), {}, row, &routes,
                                      router.SelectionBias(layer), router.SelectionFloor(layer));
    if (!selected.ok()) return Annotate(selected, absl::StrFormat("%s: layer %d, golden probe %d", artifact.directory, layer, row));
    if (routes.margin[row] < tolerance.margin || SameRoute(routes, probes, row, tolerance)) continue;
    return FailedPrecondition(
        "%s: layer %d, golden probe %d: expected the route %s, found %s", artifact.directory, layer, row,
        RouteText(probes.experts.const_data_ptr<int64_t>() + row * k, probes.weights.const_data_ptr<float>() + row * k, k),
        RouteText(routes.experts.data() + row * k, routes.weights.data() + row * k, k));
  }
  return OkStatus();
}

}  // namespace

Status ReplayGoldenProbes(const RouterArtifact& artifact, const Router& router, const Compute& compute) {
  if (artifact.manifest.golden_probes == 0) return OkStatus();
  if (router.vocabulary() > 0) {
    return InvalidArgument("%s: golden probes are hidden states; a router of kind \"%s\" looks at token ids", artifact.directory,
                           artifact.manifest.kind);
  }
  for (int32_t layer = 0; layer < artifact.manifest.num_layers; ++layer) RETURN_IF_ERROR(ReplayLayer(artifact, router, compute, layer));
  return OkStatus();
}

}  // namespace switchyard
