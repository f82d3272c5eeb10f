// Experts in groups, one a device, so that what is taken together lies together: the grouping of GRACE-MoE (2509.25041).
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/placement/co_activation.h"

namespace switchyard::trainer {

// How many experts a group has: from ceil(m (1 - slack)) to floor(m (1 + slack)) of the mean m = experts / devices, and always room for its
// whole numbers floor(m) and ceil(m).
struct GroupSizes {
  int32_t least = 0, most = 0;
};
GroupSizes SizesOf(int32_t experts, int32_t devices, double slack);

// [E] the device of each expert. Spectral clustering of the co-activation (the rows of the first eigenvectors of D^-1/2 A D^-1/2, at length
// 1, by k-means), then experts are moved until sizes fit, and moved or exchanged while that keeps more pairs together or, where it keeps as
// many, evens the devices' loads: with one expert a token there are no pairs and load alone decides. Deterministic. O(E^3).
std::vector<int32_t> GroupExperts(const CoActivation& counted, int32_t devices, double slack);

// In the order of the experts, in pieces as equal as can be: what is done without looking.
std::vector<int32_t> GroupInOrder(int32_t experts, int32_t devices);

// Pairs a token took that lie on one device.
double PairsTogether(const CoActivation& counted, const std::vector<int32_t>& groups);

}  // namespace switchyard::trainer
