// How far two distributions are apart.
#pragma once

#include <optional>
#include <span>

namespace switchyard {

// Jensen-Shannon divergence (Lin 1991), nats: the mean of the Kullback-Leibler divergences of p and q from their mean. 0 when they are the
// same, ln 2 when no expert is in both; symmetric, and defined where one of them is 0. `p` and `q` are weights >= 0, made to sum to 1 here.
// Absent when one of them sums to 0 or their lengths differ.
std::optional<double> JensenShannonDivergence(std::span<const double> p, std::span<const double> q);

}  // namespace switchyard
