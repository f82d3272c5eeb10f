#include "trainer/placement/symmetric_eigen.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace switchyard::trainer {
namespace {

TEST(SymmetricEigenTest, ByHand) {
  const Eigen eigen = SymmetricEigen({2, 1, 1, 2}, 2);
  EXPECT_NEAR(eigen.values[0], 3, 1e-12);
  EXPECT_NEAR(eigen.values[1], 1, 1e-12);
  EXPECT_NEAR(eigen.vectors[0] / eigen.vectors[2], 1, 1e-12);
  EXPECT_NEAR(eigen.vectors[1] / eigen.vectors[3], -1, 1e-12);
}

TEST(SymmetricEigenTest, VectorsAreOrthonormalAndGiveTheMatrixBack) {
  std::mt19937 random(7);
  for (const int32_t n : {1, 2, 5, 24}) {
    const auto size = static_cast<size_t>(n);
    std::vector<double> a(size * size);
    for (size_t i = 0; i < size; ++i) {
      for (size_t j = 0; j <= i; ++j) a[i * size + j] = a[j * size + i] = std::normal_distribution<>()(random);
    }
    const Eigen eigen = SymmetricEigen(a, n);
    for (size_t i = 0; i < size; ++i) {
      if (i > 0) {
        EXPECT_GE(eigen.values[i - 1], eigen.values[i]);
      }
      for (size_t j = 0; j < size; ++j) {
        double product = 0, matrix = 0;
        for (size_t k = 0; k < size; ++k) {
          product += eigen.vectors[k * size + i] * eigen.vectors[k * size + j];
          matrix += eigen.vectors[i * size + k] * eigen.values[k] * eigen.vectors[j * size + k];
        }
        EXPECT_NEAR(product, i == j ? 1 : 0, 1e-10);
        EXPECT_NEAR(matrix, a[i * size + j], 1e-10);
      }
    }
  }
}

TEST(SymmetricEigenTest, NothingAtAll) {
  const Eigen eigen = SymmetricEigen(std::vector<double>(9), 3);
  for (const double value : eigen.values) EXPECT_EQ(value, 0);
}

}  // namespace
}  // namespace switchyard::trainer
