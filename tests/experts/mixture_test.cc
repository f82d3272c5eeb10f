#include "engine/experts/mixture.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <ostream>

#include "tests/experts/random_mixture.h"

namespace switchyard {
namespace {

constexpr int32_t kLayer = 1;  // layer 0 of a RandomMixture has no adapters
constexpr MixtureAlgorithm kAlgorithms[] = {MixtureAlgorithm::kSingleDown, MixtureAlgorithm::kMixLora, MixtureAlgorithm::kNaive};

at::Tensor Fast(const Compute& compute, const RandomMixture::Side& side, const at::Tensor& x, const LayerRoutes& routes,
                int32_t layer = kLayer) {
  return MixtureFast(compute, x, side.ffn, side.bank, layer, routes, MixtureAlgorithm::kSingleDown);
}

class MixtureTest : public ::testing::Test {
 protected:
  kernels::ThreadPool pool_{2};
  Compute reference_{Backend::kReference, at::kFloat, nullptr};
  Compute fast_{Backend::kFast, at::kFloat, &pool_};
  Compute fast_bf16_{Backend::kFast, at::kBFloat16, &pool_};
  Compute reference_bf16_{Backend::kReference, at::kBFloat16, nullptr};
};

struct AgreementCase {
  MixtureShape shape;
  int64_t rows;
  int32_t k;
};
void PrintTo(const AgreementCase& c, std::ostream* out) { *out << c.shape.experts << " experts, " << c.rows << " rows, k = " << c.k; }

class AgreementTest : public MixtureTest, public ::testing::WithParamInterface<AgreementCase> {};

TEST_P(AgreementTest, EveryAlgorithmEqualsTheFormula) {
  const AgreementCase& c = GetParam();
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    RandomMixture mixture(c.shape, seed);
    const at::Tensor x = mixture.Rows(c.rows);
    const LayerRoutes routes = mixture.Routes(c.rows, c.k);
    const at::Tensor want = mixture.Oracle(x, routes);
    const RandomMixture::Side reference = mixture.On(reference_), fast = mixture.On(fast_);
    EXPECT_LT(RelativeError(MixtureReference(x, reference.ffn, reference.bank, kLayer, routes), want), 2e-6) << "seed " << seed;
    for (const MixtureAlgorithm algorithm : kAlgorithms) {
      EXPECT_LT(RelativeError(MixtureFast(fast_, x, fast.ffn, fast.bank, kLayer, routes, algorithm), want), 2e-6)
          << "algorithm " << static_cast<int>(algorithm) << ", seed " << seed;
    }
  }
}

TEST_P(AgreementTest, Bf16StaysWithinItsOwnError) {
  const AgreementCase& c = GetParam();
  RandomMixture mixture(c.shape, 4);
  const at::Tensor x = mixture.Rows(c.rows);
  const LayerRoutes routes = mixture.Routes(c.rows, c.k);
  const at::Tensor want = mixture.Oracle(x, routes, /*rounded=*/true);
  const RandomMixture::Side reference = mixture.On(reference_bf16_), fast = mixture.On(fast_bf16_);
  EXPECT_LT(RelativeError(MixtureReference(x.to(at::kBFloat16), reference.ffn, reference.bank, kLayer, routes), want), 1e-2);
  for (const MixtureAlgorithm algorithm : kAlgorithms) {
    EXPECT_LT(RelativeError(MixtureFast(fast_bf16_, x, fast.ffn, fast.bank, kLayer, routes, algorithm), want), 4e-3)
        << "algorithm " << static_cast<int>(algorithm);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AgreementTest,
                         ::testing::Values(AgreementCase{{.experts = 1, .zeros = 0}, 1, 1}, AgreementCase{{.experts = 1}, 3, 2},
                                           AgreementCase{{.experts = 2}, 19, 1}, AgreementCase{{.experts = 4}, 64, 2},
                                           AgreementCase{{.hidden = 33, .width = 97, .experts = 7, .zeros = 2}, 131, 3},
                                           AgreementCase{{.hidden = 64, .width = 128, .experts = 16}, 40, 4},
                                           AgreementCase{{.experts = 17, .zeros = 0}, 8, 2},
                                           AgreementCase{{.hidden = 5, .width = 3, .experts = 3, .max_rank = 24}, 9, 2},
                                           AgreementCase{{.experts = 3, .missing = 0.7}, 33, 2},
                                           AgreementCase{{.experts = 2, .zeros = 0, .missing = 0}, 100, 1},
                                           AgreementCase{{.experts = 0, .zeros = 2}, 5, 2}));

TEST_F(MixtureTest, RowsWithZeroOnlyAreBitIdenticalToTheBase) {
  RandomMixture mixture({.experts = 4, .zeros = 2}, 21);
  const at::Tensor x = mixture.Rows(67);
  for (const Compute* compute : {&fast_, &fast_bf16_}) {
    const RandomMixture::Side side = mixture.On(*compute);
    at::Tensor h = side.ffn.gate.Forward(x);
    kernels::SiluMul(pool_, h.const_data_ptr<float>(), side.ffn.up.Forward(x).const_data_ptr<float>(), h.numel(),
                     h.mutable_data_ptr<float>());
    const at::Tensor base = side.ffn.down.Forward(h);
    EXPECT_TRUE(at::equal(Fast(*compute, side, x, AllTo(67, 4)), base));                        // zero, weight 1
    EXPECT_TRUE(at::equal(Fast(*compute, side, x, AllTo(67, 5, 0.3f)), base));                  // zero, any weight
    EXPECT_TRUE(at::equal(Fast(*compute, side, x, AllTo(67, LayerRoutes::kUnused, 0)), base));  // nothing selected
    EXPECT_TRUE(at::equal(Fast(*compute, side, x, AllTo(67, 1), /*layer=*/0), base));           // no adapter in this layer
    // Among rows that do select experts.
    LayerRoutes routes = mixture.Routes(67, 2);
    for (const int64_t row : {0, 13, 14, 66}) {
      routes.experts[row * 2] = 4;
      routes.experts[row * 2 + 1] = row % 2 == 0 ? 5 : LayerRoutes::kUnused;
    }
    const at::Tensor y = Fast(*compute, side, x, routes);
    for (const int64_t row : {0, 13, 14, 66}) EXPECT_TRUE(at::equal(y[row], base[row])) << "row " << row;
  }
}

TEST_F(MixtureTest, ReferenceLeavesZeroRowsToTheBase) {
  RandomMixture mixture({.experts = 2}, 22);
  const at::Tensor x = mixture.Rows(9).to(at::kBFloat16);
  const RandomMixture::Side side = mixture.On(reference_bf16_);
  const at::Tensor base = MixtureReference(x, side.ffn, side.bank, kLayer, AllTo(9, 2));
  LayerRoutes routes = AllTo(9, 0);
  routes.experts[4] = 2;
  const at::Tensor y = MixtureReference(x, side.ffn, side.bank, kLayer, routes);
  EXPECT_TRUE(at::equal(y[4], base[4]));
  EXPECT_FALSE(at::equal(y[3], base[3]));
}

TEST_F(MixtureTest, RowsDoNotDependOnNeighboursRowCountOrThreads) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    RandomMixture mixture({.hidden = 61, .width = 117, .experts = 5, .max_rank = 19}, 23);
    const int64_t rows = 150;
    const at::Tensor x = mixture.Rows(rows);
    const LayerRoutes routes = mixture.Routes(rows, 3);
    at::Tensor first;
    for (const int threads : {1, 2, 4}) {
      kernels::ThreadPool pool(threads);
      const Compute compute{Backend::kFast, dtype, &pool};
      const RandomMixture::Side side = mixture.On(compute);
      const at::Tensor all = Fast(compute, side, x, routes);
      if (!first.defined()) first = all;
      EXPECT_TRUE(at::equal(all, first)) << threads << " threads";
      for (int64_t row = 0; row < rows; row += 7) {
        EXPECT_TRUE(at::equal(Fast(compute, side, x.narrow(0, row, 1), Pick(routes, {row}))[0], first[row])) << "row " << row << " alone";
      }
      // Random subsets in random order, with as many rows of another batch between.
      const at::Tensor strangers = mixture.Rows(rows);
      for (const int64_t count : {2, 3, 5, 8, 17, 40, 96}) {
        const at::Tensor order = at::randperm(rows).slice(0, 0, count);
        const std::vector<int64_t> picked(order.const_data_ptr<int64_t>(), order.const_data_ptr<int64_t>() + count);
        LayerRoutes mixed = Pick(routes, picked), others = mixture.Routes(count, 3);
        mixed.rows += count;
        mixed.experts.insert(mixed.experts.end(), others.experts.begin(), others.experts.end());
        mixed.weights.insert(mixed.weights.end(), others.weights.begin(), others.weights.end());
        const at::Tensor y = Fast(compute, side, at::cat({x.index_select(0, order), strangers.slice(0, 0, count)}), mixed);
        EXPECT_TRUE(at::equal(y.slice(0, 0, count), first.index_select(0, order))) << count << " rows, " << threads << " threads";
      }
    }
  }
}

TEST_F(MixtureTest, ForcedExpertEqualsMergedWeights) {
  RandomMixture mixture({.experts = 3, .missing = 0.3}, 24);
  const at::Tensor x = mixture.Rows(20);
  const RandomMixture::Side reference = mixture.On(reference_), fast = mixture.On(fast_);
  for (int16_t e = 0; e < 3; ++e) {
    const at::Tensor merged = mixture.Merged(x, e);
    EXPECT_LT(RelativeError(Fast(fast_, fast, x, AllTo(20, e)), merged), 2e-6) << "expert " << e;
    EXPECT_LT(RelativeError(MixtureReference(x, reference.ffn, reference.bank, kLayer, AllTo(20, e)), merged), 2e-6) << "expert " << e;
  }
}

// Weight given to the zero expert, weight given to nobody and a weight under 1 are the same thing to the numbers.
TEST_F(MixtureTest, MissingMassAndZeroFadeToTheBase) {
  RandomMixture mixture({.experts = 2, .missing = 0}, 25);
  const at::Tensor x = mixture.Rows(12);
  const RandomMixture::Side fast = mixture.On(fast_);
  const at::Tensor base = Fast(fast_, fast, x, AllTo(12, 2)), full = Fast(fast_, fast, x, AllTo(12, 1));
  const at::Tensor faded = Fast(fast_, fast, x, AllTo(12, 1, 0.25f));
  EXPECT_LT(RelativeError(faded, (base * 0.75 + full * 0.25).to(at::kDouble)), 2e-6);
  LayerRoutes with_zero;
  with_zero.Resize(12, 2);
  for (int64_t row = 0; row < 12; ++row) {
    const bool zero_first = row % 2 == 0;
    with_zero.experts[row * 2] = zero_first ? 2 : 1;
    with_zero.experts[row * 2 + 1] = zero_first ? 1 : 2;
    with_zero.weights[row * 2] = zero_first ? 0.75f : 0.25f;
    with_zero.weights[row * 2 + 1] = zero_first ? 0.25f : 0.75f;
  }
  EXPECT_TRUE(at::equal(Fast(fast_, fast, x, with_zero), faded));
  EXPECT_TRUE(at::equal(Fast(fast_, fast, x, AllTo(12, 1, 0.0f)), base));
}

TEST_F(MixtureTest, AnExpertInTwoSlotsCountsTwice) {
  RandomMixture mixture({.experts = 2, .missing = 0}, 26);
  const at::Tensor x = mixture.Rows(6);
  LayerRoutes routes;
  routes.Resize(6, 2);
  std::fill(routes.experts.begin(), routes.experts.end(), int16_t{1});
  std::fill(routes.weights.begin(), routes.weights.end(), 0.5f);
  const RandomMixture::Side fast = mixture.On(fast_);
  EXPECT_LT(RelativeError(Fast(fast_, fast, x, routes), Fast(fast_, fast, x, AllTo(6, 1)).to(at::kDouble)), 2e-6);
}

// Equation by equation in double, every slot order gives the same; here the bits are those of the slots' own order.
TEST_F(MixtureTest, SlotOrderOnlyMovesRounding) {
  RandomMixture mixture({.experts = 4, .zeros = 0, .missing = 0}, 27);
  const at::Tensor x = mixture.Rows(30);
  LayerRoutes routes = mixture.Routes(30, 2), swapped = routes;
  for (int64_t row = 0; row < 30; ++row) {
    std::swap(swapped.experts[row * 2], swapped.experts[row * 2 + 1]);
    std::swap(swapped.weights[row * 2], swapped.weights[row * 2 + 1]);
  }
  const RandomMixture::Side fast = mixture.On(fast_);
  EXPECT_LT(RelativeError(Fast(fast_, fast, x, swapped), Fast(fast_, fast, x, routes).to(at::kDouble)), 1e-6);
}

TEST_F(MixtureTest, AnInputThatIsNotContiguousIsRead) {
  RandomMixture mixture({.experts = 2}, 28);
  const at::Tensor wide = at::randn({37, 10}), x = wide.t();
  const LayerRoutes routes = mixture.Routes(10, 1);
  const RandomMixture::Side fast = mixture.On(fast_);
  EXPECT_TRUE(at::equal(Fast(fast_, fast, x, routes), Fast(fast_, fast, x.contiguous(), routes)));
}

}  // namespace
}  // namespace switchyard
