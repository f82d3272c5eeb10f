// FakeClock: time that moves only when a test says so. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>

#include "engine/base/clock.h"

namespace switchyard {

class FakeClock final : public Clock {
 public:
  Time Now() const override { return Time(std::chrono::milliseconds(now_ms_.load())); }
  void AdvanceMs(int64_t ms) { now_ms_ += ms; }

 private:
  std::atomic<int64_t> now_ms_{1'000'000};
};

}  // namespace switchyard
