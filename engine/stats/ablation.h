// What taking one part of a method away changes in a figure: the same seeds, data and steps on both sides.
#pragma once

#include <optional>

namespace switchyard {

struct AblationImpact {
  std::optional<double> absolute;  // full - ablated; absent when either is
  std::optional<double> relative;  // the same / |full|; absent for a full value of 0 too
};

inline AblationImpact ComputeAblation(std::optional<double> full, std::optional<double> ablated) {
  AblationImpact impact;
  if (!full || !ablated) return impact;
  impact.absolute = *full - *ablated;
  if (*full != 0) impact.relative = *impact.absolute / (*full < 0 ? -*full : *full);
  return impact;
}

}  // namespace switchyard
