// What a capacity limit does to a layer's tokens. Only training knows one: a served token is never dropped.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace switchyard {

struct CapacityFigures {
  std::optional<double> usage;      // kept slots / (experts x capacity): [0, 1]
  std::optional<double> drop_rate;  // dropped slots / asked slots: [0, 1]; absent when nothing was asked
};

// `asked` [E]: slots the tokens asked of each expert; each keeps at most `capacity` of them. All absent without experts or for a capacity
// below 1.
CapacityFigures ComputeCapacity(std::span<const double> asked, int64_t capacity);

}  // namespace switchyard
