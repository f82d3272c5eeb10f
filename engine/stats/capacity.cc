#include "engine/stats/capacity.h"

#include <algorithm>

namespace switchyard {

CapacityFigures ComputeCapacity(std::span<const double> asked, int64_t capacity) {
  CapacityFigures figures;
  if (asked.empty() || capacity < 1) return figures;
  const auto room = static_cast<double>(capacity);
  double kept = 0, all = 0;
  for (const double slots : asked) {
    kept += std::min(slots, room);
    all += slots;
  }
  figures.usage = kept / (room * static_cast<double>(asked.size()));
  if (all > 0) figures.drop_rate = (all - kept) / all;
  return figures;
}

}  // namespace switchyard
