// Co-activation, groups, copies and what they would save: GRACE-MoE (2509.25041) as a report. Nothing here changes how a server serves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/stats/route_record.h"
#include "trainer/placement/co_activation.h"
#include "trainer/placement/replication.h"
#include "trainer/placement/traffic.h"

namespace switchyard::trainer {

struct PlacementOptions {
  int32_t devices = 2;
  double slack = 0.15;               // GRACE's r: how far a group may be from the mean size
  int64_t bytes_per_state = 0;       // of one token's hidden state
  std::vector<std::string> experts;  // names, zero left out
};

struct LayerPlacement {
  CoActivation counted;
  std::vector<int32_t> in_order, groups;  // [E] device
  Placement placement;                    // of `groups`, with copies
  Traffic before, grouped, replicated;    // of in_order, of groups, of placement
};

struct PlacementReport {
  PlacementOptions options;
  int64_t tokens = 0;
  std::vector<LayerPlacement> layers;

  // Means over layers.
  double MeanSends(Traffic LayerPlacement::*which) const;
  double MeanImbalance(Traffic LayerPlacement::*which) const;
  // Bytes a token sends in all layers, there and back.
  double BytesPerToken(Traffic LayerPlacement::*which) const;
};

// The zero expert, where the record has one, is the base: everywhere, and no part of this. INVALID_ARGUMENT for fewer than one device, a slack
// outside [0, 1), or no expert but zero.
StatusOr<PlacementReport> MakePlacementReport(const RouteRecord& record, const PlacementOptions& options);

std::string PlacementMarkdown(const PlacementReport& report);
std::string PlacementJson(const PlacementReport& report);

}  // namespace switchyard::trainer
