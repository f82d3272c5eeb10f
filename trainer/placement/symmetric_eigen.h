// Eigenvectors of a small symmetric matrix.
#pragma once

#include <cstdint>
#include <vector>

namespace switchyard::trainer {

struct Eigen {
  std::vector<double> values;   // descending
  std::vector<double> vectors;  // [n, n]: column i belongs to value i
};
// a: [n, n] row by row. Cyclic Jacobi rotations: O(n^3) a sweep, some ten sweeps.
Eigen SymmetricEigen(std::vector<double> a, int32_t n);

}  // namespace switchyard::trainer
