#include "engine/stats/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace switchyard {
namespace {

using Weights = std::vector<double>;

TEST(StatsDivergence, IsZeroForTheSameShapeAndLogTwoForDisjointOnes) {
  EXPECT_NEAR(*JensenShannonDivergence(Weights{1, 2, 1}, Weights{10, 20, 10}), 0, 1e-15);
  EXPECT_NEAR(*JensenShannonDivergence(Weights{3, 0}, Weights{0, 5}), std::log(2.0), 1e-15);
}

// (1, 0) and (1/2, 1/2): the mean is (3/4, 1/4); half of ln(4/3), and a quarter of ln(2/3) and of ln 2.
TEST(StatsDivergence, AgreesWithAPenAndIsSymmetric) {
  const double expected = 0.5 * std::log(4.0 / 3) + 0.25 * std::log(2.0 / 3) + 0.25 * std::log(2.0);
  EXPECT_NEAR(*JensenShannonDivergence(Weights{1, 0}, Weights{1, 1}), expected, 1e-15);
  EXPECT_NEAR(*JensenShannonDivergence(Weights{1, 1}, Weights{1, 0}), expected, 1e-15);
}

TEST(StatsDivergence, UndefinedIsAbsent) {
  EXPECT_FALSE(JensenShannonDivergence(Weights{0, 0}, Weights{1, 1}));
  EXPECT_FALSE(JensenShannonDivergence(Weights{1, 1}, Weights{0, 0}));
  EXPECT_FALSE(JensenShannonDivergence(Weights{1, 1}, Weights{1, 1, 1}));
  EXPECT_FALSE(JensenShannonDivergence(Weights{}, Weights{}));
}

}  // namespace
}  // namespace switchyard
