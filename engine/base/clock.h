// Clock: where the time comes from, so that tests of deadlines need no waiting.
#pragma once

#include <chrono>

namespace switchyard {

// Thread-safe.
class Clock {
 public:
  using Time = std::chrono::steady_clock::time_point;
  virtual ~Clock() = default;
  virtual Time Now() const = 0;

  // The machine's steady clock; lives for ever.
  static const Clock* Real();
};

class SteadyClock final : public Clock {
 public:
  Time Now() const override { return std::chrono::steady_clock::now(); }
};

inline const Clock* Clock::Real() {
  static const SteadyClock clock;
  return &clock;
}

inline double Milliseconds(Clock::Time from, Clock::Time to) { return std::chrono::duration<double, std::milli>(to - from).count(); }

}  // namespace switchyard
