// Mixtures against closed forms.
#include "trainer/run/mixture_fit.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace switchyard::trainer {
namespace {

double Largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

// One Gaussian: the sample's own mean and variance, whatever it starts from.
TEST(MixtureFit, OneComponentIsTheSamplesMoments) {
  at::manual_seed(1);
  const at::Tensor rows = at::randn({50, 3}, at::kDouble) * at::tensor({1., 5., .2}, at::kDouble) + 7;
  const auto fit = FitMixture(rows, {.components = 1});
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_LT(Largest(fit->mean[0] - rows.mean(0)), 1e-9);
  EXPECT_LT(Largest(fit->variance[0] - (rows - rows.mean(0)).square().mean(0)), 1e-9);
  EXPECT_NEAR(fit->log_weight[0].item<double>(), 0, 1e-12);
  // ln N(mean; mean, v) = -sum ln(2 pi v) / 2
  EXPECT_NEAR(LogDensity(*fit, fit->mean)[0].item<double>(), -(fit->variance * 2 * M_PI).log().sum().item<double>() / 2, 1e-9);
}

TEST(MixtureFit, TwoHeapsAreFound) {
  at::manual_seed(2);
  const at::Tensor few = at::randn({30, 2}, at::kDouble) - 10, many = at::randn({90, 2}, at::kDouble) * .5 + 10;
  const auto fit = FitMixture(at::cat({few, many}), {.components = 2, .seed = 5});
  ASSERT_TRUE(fit.ok());
  const int64_t low = fit->mean.select(1, 0).argmin().item<int64_t>();
  EXPECT_LT(Largest(fit->mean[low] - few.mean(0)), 1e-6);
  EXPECT_LT(Largest(fit->mean[1 - low] - many.mean(0)), 1e-6);
  EXPECT_NEAR(std::exp(fit->log_weight[low].item<double>()), .25, 1e-6);
}

TEST(MixtureFit, MoreComponentsFitBetterAndNoneFallsOntoOneRow) {
  at::manual_seed(3);
  const at::Tensor rows = at::cat({at::randn({40, 4}, at::kDouble), at::randn({40, 4}, at::kDouble) * 3 + 4});
  double before = -INFINITY;
  for (const int64_t components : {1, 2, 4}) {
    const auto fit = FitMixture(rows, {.components = components});
    ASSERT_TRUE(fit.ok());
    const double likelihood = LogDensity(*fit, rows).mean().item<double>();
    EXPECT_GT(likelihood, before);
    before = likelihood;
  }
  // As many components as rows were asked for: one for every eight, and equal rows keep a variance.
  const auto fit = FitMixture(at::cat({at::ones({16, 4}, at::kDouble), rows.slice(0, 0, 16)}), {.components = 32});
  ASSERT_TRUE(fit.ok());
  EXPECT_EQ(fit->mean.size(0), 4);
  EXPECT_GT(fit->variance.min().item<double>(), 0);
}

TEST(MixtureFit, DensitiesSumToOne) {
  at::manual_seed(4);
  const auto fit = FitMixture(at::randn({64, 1}, at::kDouble), {.components = 3});
  ASSERT_TRUE(fit.ok());
  const at::Tensor grid = at::arange(-12., 12., .01, at::kDouble).unsqueeze(1);
  EXPECT_NEAR(LogDensity(*fit, grid).exp().sum().item<double>() * .01, 1, 1e-6);
}

TEST(MixtureFit, TooFewRowsAreRefused) {
  EXPECT_EQ(FitMixture(at::ones({1, 2}, at::kDouble), {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PrincipalComponents(at::ones({5, 2}), 2).status().code(), absl::StatusCode::kInvalidArgument);
}

// Both ways to get them, more rows than columns and fewer, agree with the singular value decomposition.
TEST(MixtureFit, PrincipalComponentsAreTheRightSingularVectors) {
  at::manual_seed(5);
  for (const auto& [rows, columns] : {std::pair{40, 9}, std::pair{7, 20}}) {
    const at::Tensor x = at::randn({rows, columns}) * at::arange(1, columns + 1) + 3;
    const auto found = PrincipalComponents(x, 4);
    ASSERT_TRUE(found.ok()) << found.status();
    const at::Tensor v = std::get<2>(at::linalg_svd((x - x.mean(0)).to(at::kDouble), false)).slice(0, 0, 4);
    EXPECT_LT(Largest(at::matmul(found->directions.to(at::kDouble), v.t()).abs() - at::eye(4, at::kDouble)), 1e-5);
    EXPECT_LT(Largest(Project(*found, x).mean(0)), 1e-5);
  }
  EXPECT_EQ(PrincipalComponents(at::randn({3, 20}), 10)->directions.size(0), 2);  // three points span a plane
}

}  // namespace
}  // namespace switchyard::trainer
