#include "engine/tensor/linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <optional>

namespace switchyard {
namespace {

struct LinearCase {
  at::ScalarType dtype;
  bool bias;
};

class LinearTest : public ::testing::TestWithParam<LinearCase> {
 protected:
  LinearTest() { at::manual_seed(7); }
  kernels::ThreadPool pool_{2};
  Compute reference_{Backend::kReference, at::kFloat, nullptr};
  Compute fast_{Backend::kFast, at::kFloat, &pool_};
};

// The exact product of the stored weight and, for bf16 weights, of x rounded as the kernels promise.
at::Tensor Oracle(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b, at::ScalarType dtype) {
  const at::Tensor y = at::matmul(x.to(dtype).to(at::kDouble), w.to(dtype).to(at::kDouble).t());
  return b ? y + b->to(at::kDouble) : y;
}

double RelativeError(const at::Tensor& got, const at::Tensor& want) {
  return ((got.to(at::kDouble) - want).abs().max() / want.abs().max()).item<double>();
}

TEST_P(LinearTest, FastEqualsTheProductOfTheStoredWeights) {
  const at::Tensor w = at::randn({37, 41}), x = at::randn({9, 41});
  const auto bias = GetParam().bias ? std::optional<at::Tensor>(at::randn({37})) : std::nullopt;
  const Linear linear(fast_, w, bias, GetParam().dtype);
  const at::Tensor y = linear.Forward(x);
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  EXPECT_LT(RelativeError(y, Oracle(x, w, bias, GetParam().dtype)), 1e-5);
}

TEST_P(LinearTest, ReferenceKeepsTheTypeOfItsInput) {
  const at::Tensor w = at::randn({37, 41}), x = at::randn({9, 41});
  const auto bias = GetParam().bias ? std::optional<at::Tensor>(at::randn({37})) : std::nullopt;
  const Linear linear(reference_, w, bias, GetParam().dtype);
  const at::Tensor y = linear.Forward(x);
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  EXPECT_LT(RelativeError(y, Oracle(x, w, bias, GetParam().dtype)), GetParam().dtype == at::kFloat ? 1e-5 : 2e-2);
  EXPECT_EQ(linear.Forward(x.to(at::kBFloat16)).scalar_type(), at::kBFloat16);
}

TEST_P(LinearTest, ForwardIntoAddsWhenAskedAndRespectsStrides) {
  const at::Tensor w = at::randn({5, 8}), x = at::randn({3, 8});
  const auto bias = GetParam().bias ? std::optional<at::Tensor>(at::randn({5})) : std::nullopt;
  const Linear linear(fast_, w, bias, GetParam().dtype);
  at::Tensor y = at::full({3, 12}, 2.0f);
  linear.ForwardInto(x.const_data_ptr<float>(), 3, 8, y.mutable_data_ptr<float>(), 12, /*accumulate=*/true);
  EXPECT_LT(RelativeError(y.slice(1, 0, 5), Oracle(x, w, bias, GetParam().dtype) + 2.0), 1e-5);
  EXPECT_TRUE(at::equal(y.slice(1, 5), at::full({3, 7}, 2.0f)));
}

TEST_P(LinearTest, ARowDoesNotDependOnItsNeighbours) {
  const at::Tensor w = at::randn({37, 41}), x = at::randn({33, 41});
  const Linear linear(fast_, w, std::nullopt, GetParam().dtype);
  const at::Tensor all = linear.Forward(x);
  for (int64_t row = 0; row < x.size(0); ++row)
    EXPECT_TRUE(at::equal(all.slice(0, row, row + 1), linear.Forward(x.slice(0, row, row + 1))));
}

TEST_P(LinearTest, ReportsItsShapeAndBytes) {
  const Linear linear(reference_, at::randn({5, 8}), std::nullopt, GetParam().dtype);
  EXPECT_EQ(linear.in_features(), 8);
  EXPECT_EQ(linear.out_features(), 5);
  EXPECT_EQ(linear.bytes(), 40 * static_cast<int64_t>(c10::elementSize(GetParam().dtype)));
}

INSTANTIATE_TEST_SUITE_P(AllTypes, LinearTest,
                         ::testing::Values(LinearCase{at::kFloat, false}, LinearCase{at::kFloat, true}, LinearCase{at::kBFloat16, false},
                                           LinearCase{at::kBFloat16, true}));

}  // namespace
}  // namespace switchyard
