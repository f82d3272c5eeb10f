#include "trainer/placement/replication.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace switchyard::trainer {

int64_t Placement::copies() const {
  return std::accumulate(hosts.begin(), hosts.end(), int64_t{0},
                         [](int64_t sum, const auto& own) { return sum + static_cast<int64_t>(own.size()) - 1; });
}

Placement PlaceGroups(const std::vector<int32_t>& groups, int32_t devices) {
  Placement placement{devices, {}, {}};
  for (const int32_t group : groups) {
    placement.hosts.push_back({group});
    placement.weights.push_back({1});
  }
  return placement;
}

Placement Replicate(const CoActivation& counted, const std::vector<int32_t>& groups, int32_t devices) {
  Placement placement = PlaceGroups(groups, devices);
  std::vector<double> load(static_cast<size_t>(devices));
  for (int32_t e = 0; e < counted.experts; ++e) load[groups[e]] += counted.load(e);
  const double all = std::accumulate(load.begin(), load.end(), 0.0);
  if (devices < 2 || all == 0) return placement;
  const auto hottest = static_cast<int32_t>(std::max_element(load.begin(), load.end()) - load.begin());
  const double most = load[hottest];
  const int32_t copies = std::min(std::max(1, static_cast<int32_t>(std::floor(most / (all / devices)))), devices - 1);

  std::vector<int32_t> members, others;
  for (int32_t e = 0; e < counted.experts; ++e) {
    if (groups[e] == hottest) members.push_back(e);
  }
  std::stable_sort(members.begin(), members.end(), [&](int32_t a, int32_t b) { return counted.load(a) > counted.load(b); });
  for (int32_t d = 0; d < devices; ++d) {
    if (d != hottest) others.push_back(d);
  }
  std::stable_sort(others.begin(), others.end(), [&](int32_t a, int32_t b) { return load[a] < load[b]; });
  others.resize(static_cast<size_t>(copies));

  double covered = 0;
  std::vector<int32_t> hot;
  for (const int32_t e : members) {
    if (covered >= most * copies / (1 + copies) || counted.load(e) == 0) break;
    covered += counted.load(e);
    hot.push_back(e);
  }
  for (const int32_t e : hot) {
    placement.hosts[e].insert(placement.hosts[e].end(), others.begin(), others.end());
    const double share = counted.load(e) / (1 + copies);
    load[hottest] -= counted.load(e) - share;
    for (const int32_t d : others) load[d] += share;
  }
  for (const int32_t e : hot) {
    std::vector<double>& weights = placement.weights[e];
    weights.clear();
    for (const int32_t host : placement.hosts[e]) weights.push_back(1 / load[host]);
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (double& weight : weights) weight /= sum;
  }
  return placement;
}

}  // namespace switchyard::trainer
