#include "engine/routing/gate_directions.h"

#include <ATen/ATen.h>

#include <utility>

namespace switchyard {

namespace {

// Singular values below this part of the largest are rounding, not directions.
constexpr double kSmallestPart = 1e-5;

constexpr std::pair<DirectionRule, std::string_view> kNames[] = {{DirectionRule::kNone, ""},
                                                                 {DirectionRule::kTopDirection, "top_direction"},
                                                                 {DirectionRule::kNormA, "norm_a"},
                                                                 {DirectionRule::kNormBa, "norm_ba"},
                                                                 {DirectionRule::kRowSpace, "row_space"}};

// Rows that are orthogonal to one another, by descending length, and M' with M'ᵀM' = MᵀM; by the eigenvectors of M Mᵀ. Rows that are
// rounding are left out.
struct Axes {
  at::Tensor rows;     // [n, H] f64
  at::Tensor lengths;  // [n]
};
Axes PrincipalAxes(const at::Tensor& m) {
  const auto [values, vectors] = at::linalg_eigh(at::matmul(m, m.t()));  // ascending
  const at::Tensor lengths = values.flip({0}).clamp_min(0).sqrt();
  const double smallest = lengths[0].item<double>() * kSmallestPart;
  const int64_t count = lengths.gt(smallest).sum().item<int64_t>();
  return {at::matmul(vectors.flip({1}).t().slice(0, 0, count), m), lengths.slice(0, 0, count)};
}

// [r, H] with MᵀM = DᵀD: with BᵀB = U diag(v) Uᵀ it is s diag(√v) Uᵀ A.
at::Tensor NormBa(const GateMatrices& gate) {
  const at::Tensor a = gate.a.to(at::kDouble), b = gate.b.to(at::kDouble);
  const auto [values, vectors] = at::linalg_eigh(at::matmul(b.t(), b));
  return gate.scale * values.clamp_min(0).sqrt().unsqueeze(1) * at::matmul(vectors.t(), a);
}

}  // namespace

StatusOr<DirectionRule> ParseDirectionRule(std::string_view name) {
  std::string known;
  for (const auto& [rule, text] : kNames) {
    if (text == name) return rule;
    if (!text.empty()) known += absl::StrFormat("%s\"%s\"", known.empty() ? "" : ", ", text);
  }
  return InvalidArgument("derive: expected %s, found \"%s\"", known, name.substr(0, 40));
}

std::string_view DirectionRuleName(DirectionRule rule) {
  for (const auto& [known, text] : kNames) {
    if (known == rule) return text;
  }
  return "";
}

at::Tensor DirectionsOf(DirectionRule rule, const GateMatrices& gate, int64_t hidden) {
  const at::Tensor nothing = at::zeros({1, hidden}, at::kFloat);
  if (!gate.a.defined()) return nothing;
  if (rule == DirectionRule::kNormA) return gate.a.to(at::kFloat).contiguous();
  const at::Tensor m = NormBa(gate);
  if (rule == DirectionRule::kNormBa) return m.to(at::kFloat).contiguous();
  const Axes axes = PrincipalAxes(m);
  if (axes.rows.size(0) == 0) return nothing;
  const at::Tensor basis = (axes.rows / axes.lengths.unsqueeze(1)).to(at::kFloat);
  return (rule == DirectionRule::kTopDirection ? basis.slice(0, 0, 1) : basis).contiguous();
}

double MeanLength(const at::Tensor& directions, const at::Tensor& rows) {
  return at::matmul(rows.to(at::kDouble), directions.to(at::kDouble).t()).square().sum(1).sqrt().mean().item<double>();
}

at::Tensor Calibrated(const at::Tensor& directions, double temperature, const at::Tensor& sample) {
  double divisor = temperature;
  if (sample.defined()) {
    const double mean = MeanLength(directions, sample);
    if (mean > 0) divisor *= mean;
  }
  return (directions.to(at::kDouble) / divisor).to(at::kFloat);
}

}  // namespace switchyard
