// Which experts are taken together.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/stats/route_record.h"

namespace switchyard::trainer {

// Of one layer: [E, E], symmetric. tokens(i, j), i != j: tokens that took both; tokens(i, i): tokens that took i.
struct CoActivation {
  int32_t experts = 0;
  std::vector<double> tokens;

  double at(int32_t i, int32_t j) const { return tokens[static_cast<size_t>(i) * static_cast<size_t>(experts) + static_cast<size_t>(j)]; }
  double load(int32_t expert) const { return at(expert, expert); }
};
CoActivation CountCoActivation(const RouteRecord& record, size_t layer);

}  // namespace switchyard::trainer
