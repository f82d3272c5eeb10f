// The routers' part of /metrics: how evenly, how decidedly and how steadily they choose, over the last minutes, by layer.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/runtime/engine.h"
#include "server/route_window.h"

namespace switchyard {

// One layer of one router over some rows. Absent where it is not defined.
struct RouterFigures {
  // Over the experts that the router chooses among, and over those without the zero expert.
  struct Load {
    std::optional<double> utilisation, entropy, imbalance, max_violation, cv, gini, dead_experts;
    std::optional<double> drift;  // nats, of the load from the one over the training data
  };
  Load all, domains;
  std::optional<double> entropy;     // mean of the router's distribution / ln of its experts
  std::optional<double> zero_share;  // mean weight on the zero expert; absent without one
  std::optional<double> base_mass;   // mean of 1 - (weight on experts other than zero)
  std::optional<double> flips;       // part of neighbouring tokens with different best experts
  uint64_t rows = 0;
};

// `info` is of the snapshot that `sums` counted.
RouterFigures FiguresOf(const RouterSums& sums, const SnapshotInfo& info, size_t layer);

// Thread-safe. Engine and window must outlive it. Series: at most 21 a layer for each role that has a router.
class RouterCollectable final : public prometheus::Collectable {
 public:
  RouterCollectable(const Engine& engine, const RouteWindow& window) : engine_(engine), window_(window) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Engine& engine_;
  const RouteWindow& window_;
};

}  // namespace switchyard
