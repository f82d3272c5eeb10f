// Where experts live, copies included: GRACE-MoE's replication of hot experts (2509.25041).
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/placement/co_activation.h"

namespace switchyard::trainer {

struct Placement {
  int32_t devices = 0;
  std::vector<std::vector<int32_t>> hosts;   // [E] devices that hold the expert, its group's first
  std::vector<std::vector<double>> weights;  // [E] as hosts: how often a token from elsewhere is sent there; sums to 1

  int64_t copies() const;  // beyond one of each
};

// No copies.
Placement PlaceGroups(const std::vector<int32_t>& groups, int32_t devices);

// Copies of what makes the most loaded group hot. With W the groups' loads, n = min(max(1, floor(W_max / mean W)), devices - 1) copies are made
// of each of that group's first experts by load, as many as it takes for their loads to reach W_max n / (1 + n), on the n least loaded other
// devices. A copied expert's load is predicted to fall on its hosts alike, and tokens from elsewhere are sent to these in inverse proportion
// to the load that is predicted for each as a whole. One device: no copies.
Placement Replicate(const CoActivation& counted, const std::vector<int32_t>& groups, int32_t devices);

}  // namespace switchyard::trainer
