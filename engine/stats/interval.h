// How sure an accuracy is.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace switchyard {

struct Interval {
  double low = 0;
  double high = 0;
};

// Wilson's score interval, 95 %, of `successes` out of `trials`; never outside [0, 1]. Absent without trials, and when successes is not in
// 0 .. trials.
std::optional<Interval> WilsonInterval95(int64_t successes, int64_t trials);

struct Proportion {
  int64_t successes = 0;
  int64_t trials = 0;
};
// Half of Wilson's interval; absent as that is.
std::optional<double> HalfWidth95(Proportion proportion);

// A mean and how sure it is.
struct MeanWithSpread {
  double mean = 0;
  std::optional<double> half_width;  // 95 %
  int64_t count = 0;                 // values it is of
};
// Of independent proportions, each with the same weight; normal approximation. Absent without proportions, and while one has no trials.
std::optional<MeanWithSpread> MeanOfProportions(std::span<const Proportion> proportions);

// Of a few repetitions, one figure a seed: Student's t; half_width is absent for one value. Absent without values.
std::optional<MeanWithSpread> MeanOfRepetitions(std::span<const double> values);

}  // namespace switchyard
