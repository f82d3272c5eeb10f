#include "trainer/placement/traffic.h"

#include <algorithm>
#include <numeric>

namespace switchyard::trainer {

namespace {

// Deals one expert's tokens from one home out among its hosts.
class Dealer {
 public:
  // Each host earns its weight a token, the richest is chosen and pays 1.
  size_t Next(const std::vector<double>& weights) {
    credit_.resize(weights.size());
    for (size_t i = 0; i < weights.size(); ++i) credit_[i] += weights[i];
    const auto best = static_cast<size_t>(std::max_element(credit_.begin(), credit_.end()) - credit_.begin());
    credit_[best] -= 1;
    return best;
  }

 private:
  std::vector<double> credit_;
};

}  // namespace

Traffic EstimateTraffic(const RouteRecord& record, size_t layer, const Placement& placement) {
  const auto devices = static_cast<size_t>(placement.devices);
  Traffic traffic;
  std::vector<double> load(devices);
  std::vector<Dealer> dealers(devices * placement.hosts.size());  // [home, expert]
  std::vector<bool> visited(devices);
  for (int64_t row = 0; row < record.rows(); ++row) {
    const int16_t* own = record.layers[layer].experts.data() + row * record.k;
    for (size_t home = 0; home < devices; ++home) {
      visited.assign(devices, false);
      for (int32_t slot = 0; slot < record.k; ++slot) {
        if (own[slot] == LayerTrace::kUnused) continue;
        const auto expert = static_cast<size_t>(own[slot]);
        const std::vector<int32_t>& hosts = placement.hosts[expert];
        const bool here = std::find(hosts.begin(), hosts.end(), static_cast<int32_t>(home)) != hosts.end();
        const size_t device =
            here ? home : static_cast<size_t>(hosts[dealers[home * placement.hosts.size() + expert].Next(placement.weights[expert])]);
        load[device] += 1;
        if (device != home) visited[device] = true;
      }
      traffic.sends += static_cast<double>(std::count(visited.begin(), visited.end(), true));
    }
  }
  if (record.rows() > 0) traffic.sends /= static_cast<double>(record.rows()) * static_cast<double>(devices);
  const double all = std::accumulate(load.begin(), load.end(), 0.0);
  if (all == 0) return traffic;
  for (double& own : load) own /= all;
  traffic.imbalance = *std::max_element(load.begin(), load.end()) * static_cast<double>(devices);
  traffic.load = std::move(load);
  return traffic;
}

}  // namespace switchyard::trainer
