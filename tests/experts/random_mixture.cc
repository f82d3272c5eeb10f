#include "tests/experts/random_mixture.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

namespace switchyard {

namespace {

at::Tensor AsDouble(const at::Tensor& t, bool rounded) { return (rounded ? t.to(at::kBFloat16) : t).to(at::kDouble); }

}  // namespace

RandomMixture::RandomMixture(const MixtureShape& shape, uint32_t seed) : shape_(shape), random_(seed) {
  at::manual_seed(seed);
  const double in = 1.0 / std::sqrt(static_cast<double>(shape.hidden)), out = 1.0 / std::sqrt(static_cast<double>(shape.width));
  gate_ = at::randn({shape.width, shape.hidden}) * in;
  up_ = at::randn({shape.width, shape.hidden}) * in;
  down_ = at::randn({shape.hidden, shape.width}) * out;
  for (int e = 0; e < shape.experts; ++e) {
    loras_.push_back({RandomLora(shape.hidden, shape.width), RandomLora(shape.hidden, shape.width), RandomLora(shape.width, shape.hidden)});
  }
  loras_.resize(loras_.size() + shape.zeros);
}

RandomMixture::Lora RandomMixture::RandomLora(int64_t in, int64_t out) {
  if (std::uniform_real_distribution<>(0, 1)(random_) < shape_.missing) return {};
  const int64_t rank = 1 + random_() % shape_.max_rank;
  return {at::randn({rank, in}) / std::sqrt(static_cast<double>(in)), at::randn({out, rank}) / std::sqrt(static_cast<double>(rank)),
          std::uniform_real_distribution<float>(0.3f, 2.0f)(random_)};
}

RandomMixture::Side RandomMixture::On(const Compute& compute) const {
  const at::ScalarType dtype = compute.weight_dtype;
  Side side{
      {Linear(compute, gate_, std::nullopt, dtype), Linear(compute, up_, std::nullopt, dtype), Linear(compute, down_, std::nullopt, dtype)},
      {}};
  const auto make = [&](const Lora& lora) {
    return lora.a.defined() ? std::optional<ExpertLora>(std::in_place, lora.a, lora.b, lora.scale, compute) : std::nullopt;
  };
  for (const ExpertLoras& loras : loras_) {
    auto expert = std::make_shared<Expert>();
    expert->is_zero = !loras.gate.a.defined() && !loras.up.a.defined() && !loras.down.a.defined() &&
                      side.bank.size() >= static_cast<size_t>(shape_.experts);
    // Layer 0 is empty, so that reading the wrong layer shows.
    expert->layers.resize(2);
    expert->layers[1] = {make(loras.gate), make(loras.up), make(loras.down)};
    side.bank.push_back(expert);
  }
  return side;
}

at::Tensor RandomMixture::Rows(int64_t rows) { return at::randn({rows, shape_.hidden}); }

LayerRoutes RandomMixture::Routes(int64_t rows, int32_t k) {
  LayerRoutes routes;
  routes.Resize(rows, k);
  std::vector<int16_t> order(loras_.size());
  std::iota(order.begin(), order.end(), int16_t{0});
  std::uniform_real_distribution<float> uniform(0, 1);
  for (int64_t row = 0; row < rows; ++row) {
    std::shuffle(order.begin(), order.end(), random_);
    float sum = 0;
    for (int32_t slot = 0; slot < std::min<int32_t>(k, experts()); ++slot) {
      if (uniform(random_) < 0.1f) continue;
      routes.experts[row * k + slot] = order[slot];
      sum += routes.weights[row * k + slot] = uniform(random_) + 0.01f;
    }
    const float share = uniform(random_) < 0.5f ? 1.0f : uniform(random_);  // half of the rows: no missing mass
    for (int32_t slot = 0; slot < k; ++slot) routes.weights[row * k + slot] *= sum > 0 ? share / sum : 0;
  }
  return routes;
}

at::Tensor RandomMixture::Block(const at::Tensor& x, const ExpertLoras& loras, bool rounded) const {
  const auto project = [&](const at::Tensor& weight, const Lora& lora, const at::Tensor& in) {
    const at::Tensor base = at::matmul(in, AsDouble(weight, rounded).t());
    if (!lora.a.defined()) return base;
    return base + at::matmul(at::matmul(in, AsDouble(lora.a, rounded).t()), AsDouble(lora.b, rounded).t()) * lora.scale;
  };
  const at::Tensor gate = project(gate_, loras.gate, x);
  const at::Tensor h = gate * at::sigmoid(gate) * project(up_, loras.up, x);
  return project(down_, loras.down, h);
}

at::Tensor RandomMixture::Oracle(const at::Tensor& x, const LayerRoutes& routes, bool rounded) const {
  const at::Tensor in = AsDouble(x, rounded);
  const at::Tensor base = Block(in, {}, rounded);
  at::Tensor y = base.clone();
  for (int e = 0; e < experts(); ++e) {
    at::Tensor weight = at::zeros({x.size(0), 1}, at::kDouble);
    for (int64_t at = 0; at < routes.rows * routes.k; ++at) {
      if (routes.experts[at] == e) weight.mutable_data_ptr<double>()[at / routes.k] += routes.weights[at];
    }
    y = y + weight * (Block(in, loras_[e], rounded) - base);
  }
  return y;
}

at::Tensor RandomMixture::Merged(const at::Tensor& x, int e) const {
  const auto merge = [](const at::Tensor& weight, const Lora& lora) {
    const at::Tensor w = weight.to(at::kDouble);
    return lora.a.defined() ? w + at::matmul(lora.b.to(at::kDouble), lora.a.to(at::kDouble)) * lora.scale : w;
  };
  const at::Tensor in = x.to(at::kDouble);
  const at::Tensor gate = at::matmul(in, merge(gate_, loras_[e].gate).t());
  const at::Tensor h = gate * at::sigmoid(gate) * at::matmul(in, merge(up_, loras_[e].up).t());
  return at::matmul(h, merge(down_, loras_[e].down).t());
}

LayerRoutes AllTo(int64_t rows, int16_t expert, float weight) {
  LayerRoutes routes;
  routes.Resize(rows, 1);
  std::fill(routes.experts.begin(), routes.experts.end(), expert);
  std::fill(routes.weights.begin(), routes.weights.end(), weight);
  return routes;
}

LayerRoutes Pick(const LayerRoutes& routes, const std::vector<int64_t>& rows) {
  LayerRoutes picked;
  picked.Resize(static_cast<int64_t>(rows.size()), routes.k);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(routes.experts.begin() + rows[i] * routes.k, routes.k, picked.experts.begin() + i * routes.k);
    std::copy_n(routes.weights.begin() + rows[i] * routes.k, routes.k, picked.weights.begin() + i * routes.k);
  }
  return picked;
}

double RelativeError(const at::Tensor& got, const at::Tensor& want) {
  return ((got.to(at::kDouble) - want).norm() / want.norm()).item<double>();
}

}  // namespace switchyard
