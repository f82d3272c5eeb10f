#include "trainer/log/progress_line.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"

namespace switchyard::trainer {

std::string DurationText(double seconds) {
  const auto total = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  if (total < 60) return absl::StrFormat("%d s", total);
  if (total < 3600) return absl::StrFormat("%d min %02d s", total / 60, total % 60);
  return absl::StrFormat("%d h %02d min", total / 3600, total % 3600 / 60);
}

std::string ProgressLine::Next(const StepRecord& record) {
  constexpr double kKeep = 0.95;
  tokens_ = tokens_ * kKeep + static_cast<double>(record.tokens);
  seconds_ = seconds_ * kKeep + record.seconds;
  steps_ = steps_ * kKeep + 1;
  std::string line = absl::StrFormat("%s  step %d/%d", title_, record.step, record.total_steps);
  for (const std::string& wanted : shown_) {
    for (const auto& [name, value] : record.scalars) {
      if (name == wanted) line += absl::StrFormat("  %s %.3f", name.substr(name.rfind('/') + 1), value);
    }
  }
  line += absl::StrFormat("  %.0f tokens/s", tokens_per_second());
  return line + "  " + DurationText(static_cast<double>(record.total_steps - record.step) * seconds_ / steps_) + " left";
}

}  // namespace switchyard::trainer
