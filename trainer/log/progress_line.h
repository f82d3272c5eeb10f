// One line that says how far a run is.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trainer/log/run_log.h"

namespace switchyard::trainer {

// "expert medicine  step 40/100  loss 1.234  accuracy 0.560  512 tokens/s  1 min 05 s left". Rate and remaining time are moving averages
// over about the last twenty steps. Thread-compatible.
class ProgressLine {
 public:
  ProgressLine(std::string title, std::vector<std::string> shown) : title_(std::move(title)), shown_(std::move(shown)) {}
  std::string Next(const StepRecord& record);
  double tokens_per_second() const { return seconds_ > 0 ? tokens_ / seconds_ : 0; }

 private:
  const std::string title_;
  const std::vector<std::string> shown_;
  double tokens_ = 0, seconds_ = 0, steps_ = 0;  // decayed sums
};

// "42 s", "3 min 05 s", "2 h 10 min".
std::string DurationText(double seconds);

}  // namespace switchyard::trainer
