#include "trainer/placement/symmetric_eigen.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace switchyard::trainer {

namespace {

constexpr int kMaxSweeps = 60;
constexpr double kSmall = 1e-24;  // of the squares beside the diagonal, of all squares

// Rotates rows and columns p and q so that a[p, q] becomes 0 (Golub & Van Loan, section 8.5).
void Rotate(std::vector<double>& a, std::vector<double>& v, size_t n, size_t p, size_t q) {
  const double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
  const double t = (theta >= 0 ? 1.0 : -1.0) / (std::abs(theta) + std::sqrt(theta * theta + 1));
  const double c = 1 / std::sqrt(t * t + 1), s = t * c;
  const auto turn = [&](double& x, double& y) {
    const double old = x;
    x = c * old - s * y;
    y = s * old + c * y;
  };
  for (size_t i = 0; i < n; ++i) turn(a[i * n + p], a[i * n + q]);
  for (size_t i = 0; i < n; ++i) turn(a[p * n + i], a[q * n + i]);
  for (size_t i = 0; i < n; ++i) turn(v[i * n + p], v[i * n + q]);
}

}  // namespace

Eigen SymmetricEigen(std::vector<double> a, int32_t count) {
  const auto n = static_cast<size_t>(count);
  std::vector<double> v(n * n);
  for (size_t i = 0; i < n; ++i) v[i * n + i] = 1;
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    double beside = 0, all = 0;
    for (size_t i = 0; i < n * n; ++i) {
      all += a[i] * a[i];
      if (i / n != i % n) beside += a[i] * a[i];
    }
    if (beside <= kSmall * all) break;
    for (size_t p = 0; p < n; ++p) {
      for (size_t q = p + 1; q < n; ++q) {
        if (a[p * n + q] != 0) Rotate(a, v, n, p, q);
      }
    }
  }
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) { return a[x * n + x] > a[y * n + y]; });
  Eigen eigen{{}, std::vector<double>(n * n)};
  for (size_t i = 0; i < n; ++i) {
    eigen.values.push_back(a[order[i] * n + order[i]]);
    for (size_t row = 0; row < n; ++row) eigen.vectors[row * n + i] = v[row * n + order[i]];
  }
  return eigen;
}

}  // namespace switchyard::trainer
