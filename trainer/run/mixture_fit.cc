#include "trainer/run/mixture_fit.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "trainer/data/seeded_order.h"

namespace switchyard::trainer {

namespace {

constexpr double kSmallestPart = 1e-8;  // of the largest variance: directions below are rounding
constexpr double kRest = 1e-6;          // nats a row: less than this gained ends the fit
constexpr int64_t kRowsAComponent = 8;

// [N, K]: ln weight + ln N(row; mean, variance).
at::Tensor JointLogDensity(const GaussianMixture& m, const at::Tensor& rows) {
  const at::Tensor precision = m.variance.reciprocal();
  const at::Tensor distance =
      at::matmul(rows.square(), precision.t()) - 2 * at::matmul(rows, (m.mean * precision).t()) + (m.mean.square() * precision).sum(1);
  const at::Tensor norm = (m.variance * (2 * std::numbers::pi)).log().sum(1);
  return m.log_weight - (distance + norm) / 2;
}

// Each next one is the row farthest from those chosen.
at::Tensor FarRows(const at::Tensor& rows, const at::Tensor& scale, int64_t count, uint64_t seed) {
  const at::Tensor scaled = rows / scale;
  std::vector<int64_t> chosen = {SeededOrder(rows.size(0), seed, "mixture").front()};
  at::Tensor nearest = (scaled - scaled[chosen[0]]).square().sum(1);
  while (static_cast<int64_t>(chosen.size()) < count) {
    chosen.push_back(nearest.argmax().item<int64_t>());
    nearest = at::minimum(nearest, (scaled - scaled[chosen.back()]).square().sum(1));
  }
  return rows.index_select(0, at::tensor(chosen, at::kLong));
}

}  // namespace

StatusOr<Projection> PrincipalComponents(const at::Tensor& rows, int64_t dimensions) {
  const at::Tensor x = rows.to(at::kDouble), center = x.mean(0), centred = x - center;
  // By the smaller of the two squares: N x N or H x H.
  const bool by_rows = centred.size(0) < centred.size(1);
  const auto [values, vectors] = at::linalg_eigh(by_rows ? at::matmul(centred, centred.t()) : at::matmul(centred.t(), centred));
  const at::Tensor falling = values.flip({0});
  const double largest = falling[0].item<double>();
  const int64_t count = std::min(dimensions, falling.gt(largest * kSmallestPart).sum().item<int64_t>());
  if (count < 1 || !(largest > 0)) return InvalidArgument("principal components: %d rows do not differ", rows.size(0));
  at::Tensor directions = vectors.flip({1}).t().slice(0, 0, count);
  if (by_rows) directions = at::matmul(directions, centred) / falling.slice(0, 0, count).sqrt().unsqueeze(1);
  return Projection{center.to(at::kFloat).contiguous(), directions.to(at::kFloat).contiguous()};
}

at::Tensor Project(const Projection& projection, const at::Tensor& rows) {
  return at::matmul(rows.to(at::kDouble) - projection.center.to(at::kDouble), projection.directions.to(at::kDouble).t());
}

StatusOr<GaussianMixture> FitMixture(const at::Tensor& rows, const MixtureFitOptions& options) {
  const int64_t n = rows.size(0);
  if (n < 2) return InvalidArgument("a mixture of Gaussians needs at least 2 rows, found %d", n);
  const int64_t k = std::clamp<int64_t>(n / kRowsAComponent, 1, std::max<int64_t>(1, options.components));
  const at::Tensor spread = (rows - rows.mean(0)).square().mean(0).clamp_min(1e-12), least = spread * options.floor;
  GaussianMixture m{at::full({k}, -std::log(static_cast<double>(k)), at::kDouble), FarRows(rows, spread.sqrt(), k, options.seed),
                    spread.expand({k, spread.size(0)}).contiguous()};
  double before = -std::numeric_limits<double>::infinity();
  for (int32_t i = 0; i < options.iterations; ++i) {
    const at::Tensor joint = JointLogDensity(m, rows), density = joint.logsumexp(1, /*keepdim=*/true);
    const at::Tensor share = (joint - density).exp();       // [N, K]
    const at::Tensor mass = share.sum(0).clamp_min(1e-12);  // [K]
    m.log_weight = (mass / mass.sum()).log();
    m.mean = at::matmul(share.t(), rows) / mass.unsqueeze(1);
    m.variance = at::maximum(at::matmul(share.t(), rows.square()) / mass.unsqueeze(1) - m.mean.square(), least);
    const double likelihood = density.mean().item<double>();
    if (!std::isfinite(likelihood)) return Internal("a mixture of Gaussians: the likelihood is not finite");
    if (likelihood - before < kRest) break;
    before = likelihood;
  }
  return m;
}

at::Tensor LogDensity(const GaussianMixture& mixture, const at::Tensor& rows) { return JointLogDensity(mixture, rows).logsumexp(1); }

}  // namespace switchyard::trainer
