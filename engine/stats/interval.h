// How sure an accuracy is.
#pragma once

#include <cstdint>
#include <optional>

namespace switchyard {

struct Interval {
  double low = 0;
  double high = 0;
};

// Wilson's score interval, 95 %, of `successes` out of `trials`; never outside [0, 1]. Absent without trials, and when successes is not in
// 0 .. trials.
std::optional<Interval> WilsonInterval95(int64_t successes, int64_t trials);

}  // namespace switchyard
