#include "trainer/run/route_manifold.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace switchyard::trainer {

namespace {

// The row that predicts an example's first answer token: the prompt's last one.
int64_t PromptsLastRow(const PackedBatch::Segment& segment, const Example& example) { return segment.begin + example.answer_begin - 1; }

constexpr int64_t kBlock = 256;  // examples whose distances are computed at once

// What one pass over the data tells of each example.
struct Survey {
  std::vector<at::Tensor> places;               // [n] of [H]
  std::vector<bool> right;                      // [n]
  std::vector<std::vector<at::Tensor>> routes;  // [L] of [n] of [E]
};

Status SurveyBatch(TrainableModel& model, const RouterModule& router, const Dataset& data, const std::vector<int64_t>& some,
                   const ManifoldOptions& options, Survey* survey) {
  const PackedBatch batch = Pack(data, some);
  RoutePlan plan;
  plan.router = &router;
  EvaluationDetail detail;
  RETURN_IF_ERROR(model.Evaluate(batch, plan, &detail).status());
  const auto layers = static_cast<int32_t>(detail.router_inputs.size());
  std::vector<int64_t> last;
  size_t target = 0;
  for (size_t i = 0; i < some.size(); ++i) {
    const Example& example = data.examples[some[i]];
    last.push_back(PromptsLastRow(batch.segments[i], example));
    survey->places.push_back(detail.router_inputs.back().slice(0, batch.segments[i].begin, last.back() + 1).mean(0));
    const size_t answer = example.tokens.size() - static_cast<size_t>(example.answer_begin);
    const auto hits = std::count(detail.correct.begin() + static_cast<int64_t>(target),
                                 detail.correct.begin() + static_cast<int64_t>(target + answer), true);
    survey->right.push_back(static_cast<double>(hits) >= options.right * static_cast<double>(answer));
    target += answer;
  }
  survey->routes.resize(static_cast<size_t>(layers));
  const at::Tensor index = at::tensor(last, at::kLong);
  for (int32_t l = std::max(0, layers - options.layers); l < layers; ++l) {
    std::vector<int32_t> tokens;
    for (const int64_t row : last) tokens.push_back(batch.tokens[row]);
    ASSIGN_OR_RETURN(const RouterOutput out, router.Forward(l, {detail.router_inputs[l].index_select(0, index), tokens}, nullptr));
    for (size_t i = 0; i < some.size(); ++i) survey->routes[l].push_back(out.probabilities[static_cast<int64_t>(i)]);
  }
  return OkStatus();
}

}  // namespace

std::vector<double> KernelWeights(const std::vector<double>& distances, double sigma) {
  std::vector<double> weights;
  for (const double d : distances) weights.push_back(std::exp(-d * d / (2 * sigma * sigma)));
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= sum;
  return weights;
}

StatusOr<RouteManifold> RouteManifold::Measure(TrainableModel& model, const RouterModule& router, const Dataset& data,
                                               const ManifoldOptions& options, int64_t tokens_per_pass) {
  if (options.neighbours < 1 || options.layers < 1 || !(options.sigma > 0) || !(options.right > 0 && options.right <= 1)) {
    return InvalidArgument("--roma: expected at least 1 neighbour and layer, a sigma above 0 and a part from 0 to 1; found %d, %d, %g, %g",
                           options.neighbours, options.layers, options.sigma, options.right);
  }
  Survey survey;
  std::vector<int64_t> some;
  int64_t tokens = 0;
  for (size_t i = 0; i < data.examples.size(); ++i) {
    some.push_back(static_cast<int64_t>(i));
    tokens += static_cast<int64_t>(data.examples[i].tokens.size());
    if (tokens < tokens_per_pass && i + 1 < data.examples.size()) continue;
    RETURN_IF_ERROR(SurveyBatch(model, router, data, some, options, &survey));
    some.clear();
    tokens = 0;
  }
  RouteManifold manifold;
  manifold.data_ = &data;
  manifold.width_ = options.neighbours;
  manifold.right_ = std::count(survey.right.begin(), survey.right.end(), true);
  if (manifold.right_ == 0) {
    return FailedPrecondition(
        "--roma: of %d training examples the model answers none right, so there is no route to follow: start from a trained router "
        "(--init) "
        "or lower --roma-right",
        data.examples.size());
  }
  at::Tensor places = at::stack(survey.places);
  places = places - places.mean(0, /*keepdim=*/true);
  places = places / places.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12);
  const auto count = static_cast<int64_t>(data.examples.size());
  at::Tensor block;  // cosines of some examples to all
  for (int64_t i = 0; i < count; ++i) {
    if (i % kBlock == 0) block = at::matmul(places.slice(0, i, std::min(count, i + kBlock)), places.t()).contiguous();
    const float* to = block.const_data_ptr<float>() + i % kBlock * count;
    std::vector<int64_t> near;
    for (int64_t j = 0; j < count; ++j) {
      if (j != i && survey.right[j]) near.push_back(j);
    }
    const size_t kept = std::min<size_t>(near.size(), static_cast<size_t>(options.neighbours));
    std::partial_sort(near.begin(), near.begin() + static_cast<int64_t>(kept), near.end(),
                      [&](int64_t a, int64_t b) { return to[a] > to[b] || (to[a] == to[b] && a < b); });
    near.resize(kept);
    std::vector<double> distances;
    for (const int64_t j : near) distances.push_back(1 - double{to[j]});
    manifold.weights_.push_back(KernelWeights(distances, options.sigma));
    manifold.near_.push_back(std::move(near));
  }
  for (const std::vector<at::Tensor>& layer : survey.routes) manifold.routes_.push_back(layer.empty() ? at::Tensor() : at::stack(layer));
  return manifold;
}

RouteNeighbours RouteManifold::Of(const std::vector<int64_t>& examples, const PackedBatch& batch) const {
  RouteNeighbours out;
  std::vector<int64_t> flat;   // [n, N] examples
  std::vector<float> weights;  // [n, N]
  for (size_t i = 0; i < examples.size(); ++i) {
    const std::vector<int64_t>& near = near_[examples[i]];
    if (near.empty()) continue;
    out.rows.push_back(PromptsLastRow(batch.segments[i], data_->examples[examples[i]]));
    for (int32_t n = 0; n < width_; ++n) {
      const bool there = n < static_cast<int32_t>(near.size());
      flat.push_back(there ? near[n] : near[0]);
      weights.push_back(there ? static_cast<float>(weights_[examples[i]][n]) : 0.0f);
    }
  }
  if (out.rows.empty()) return out;
  const auto rows = static_cast<int64_t>(out.rows.size());
  out.weights = at::tensor(weights, at::kFloat).view({rows, width_});
  const at::Tensor index = at::tensor(flat, at::kLong);
  for (const at::Tensor& layer : routes_) {
    out.routes.push_back(layer.defined() ? layer.index_select(0, index).view({rows, width_, layer.size(1)}) : at::Tensor());
  }
  return out;
}

}  // namespace switchyard::trainer
