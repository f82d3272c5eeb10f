// Seeded routers with golden probes. The probes' routes come from a plain double-precision evaluation here, so that replaying them at load
// is a comparison with an independent computation.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/artifact/fixtures_internal.h"

namespace switchyard {
namespace {
constexpr int32_t kProbes = 4;
constexpr double kClearMargin = 1e-3;  // probes whose route hangs on less are drawn again

std::vector<double> Values(const TensorView& t) {
  std::vector<double> values(t.elements());
  for (size_t i = 0; i < values.size(); ++i) {
    float f;
    std::memcpy(&f, t.data.data() + i * 4, 4);
    values[i] = f;
  }
  return values;
}

// W x + b
std::vector<double> Affine(const std::vector<double>& w, const std::vector<double>& b, const std::vector<double>& x) {
  std::vector<double> y(b);
  for (size_t o = 0; o < y.size(); ++o) {
    for (size_t i = 0; i < x.size(); ++i) y[o] += w[o * x.size() + i] * x[i];
  }
  return y;
}

struct Route {
  std::vector<int32_t> experts;
  std::vector<float> weights;
  bool clear = false;
};

Route Select(const std::vector<double>& logits, int32_t k, const std::string& weight_mode) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p(logits.size());
  double sum = 0;
  for (size_t e = 0; e < p.size(); ++e) sum += p[e] = std::exp(logits[e] - top);
  for (double& v : p) v /= sum;
  std::vector<int32_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return p[a] > p[b]; });
  Route route;
  route.clear = true;
  for (int32_t i = 0; i < k && i + 1 < static_cast<int32_t>(order.size()); ++i) route.clear &= p[order[i]] - p[order[i + 1]] > kClearMargin;
  double selected = 0;
  for (int32_t i = 0; i < k; ++i) selected += p[order[i]];
  for (int32_t i = 0; i < k; ++i) {
    route.experts.push_back(order[i]);
    route.weights.push_back(static_cast<float>(weight_mode == "renorm" ? p[order[i]] / selected
                                               : weight_mode == "raw"  ? p[order[i]]
                                                                       : 1.0 / k));
  }
  return route;
}

}  // namespace

StatusOr<std::vector<TensorView>> SeededRouterTensors(RouterManifest* manifest, uint64_t seed) {
  const bool mlp = manifest->kind == "dense2moe_mlp";
  if (!mlp && manifest->kind != "linear") return InvalidArgument("router kind \"%s\", expected dense2moe_mlp or linear", manifest->kind);
  const int64_t h = manifest->hidden_size, half = std::max<int64_t>(h / 2, 1), e = static_cast<int64_t>(manifest->experts.size());
  const int32_t k = manifest->top_k;
  std::vector<TensorView> tensors;
  for (int32_t l = 0; l < manifest->num_layers; ++l) {
    const std::string p = "layers." + std::to_string(l) + ".router.";
    // Inputs are normalised, so W1 x is of unit size; W2's scale makes the softmax decided but not hard.
    std::vector<std::vector<double>> layer;
    const auto add = [&](const std::string& name, std::vector<int64_t> shape, double stddev) {
      tensors.push_back(SeededTensor(p + name, std::move(shape), stddev, seed, DType::kF32));
      layer.push_back(Values(tensors.back()));
    };
    if (mlp) {
      add("fc1.weight", {half, h}, 1.0 / std::sqrt(static_cast<double>(h)));
      add("fc1.bias", {half}, 0.1);
      add("fc2.weight", {e, half}, 2.0 / std::sqrt(static_cast<double>(half)));
      add("fc2.bias", {e}, 0.1);
    } else {
      add("weight", {e, h}, 1.5 / std::sqrt(static_cast<double>(h)));
      layer.emplace_back(e, 0.0);
    }
    std::vector<float> xs, weights;
    std::vector<int32_t> experts;
    SeededRandom random(seed, p + "probe");
    for (int32_t found = 0, tries = 0; found < kProbes; ++tries) {
      if (tries == 10000) return Internal("router fixture: no probe with a clear margin in layer %d", l);
      std::vector<double> x(h);
      for (double& v : x) v = static_cast<float>(random.Normal());
      std::vector<double> logits;
      if (mlp) {
        std::vector<double> hidden = Affine(layer[0], layer[1], x);
        for (double& v : hidden) v = std::max(v, 0.0);
        logits = Affine(layer[2], layer[3], hidden);
      } else {
        logits = Affine(layer[0], layer[1], x);
      }
      const Route route = Select(logits, k, manifest->weight_mode);
      if (!route.clear) continue;
      ++found;
      for (double v : x) xs.push_back(static_cast<float>(v));
      experts.insert(experts.end(), route.experts.begin(), route.experts.end());
      weights.insert(weights.end(), route.weights.begin(), route.weights.end());
    }
    const std::string probe = "probe.layers." + std::to_string(l) + ".";
    tensors.push_back(TensorOf(probe + "x", DType::kF32, {kProbes, h}, xs));
    tensors.push_back(TensorOf(probe + "experts", DType::kI32, {kProbes, k}, experts));
    tensors.push_back(TensorOf(probe + "weights", DType::kF32, {kProbes, k}, weights));
  }
  manifest->golden_probes = kProbes;
  return tensors;
}

}  // namespace switchyard
