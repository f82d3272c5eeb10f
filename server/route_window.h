// The last minutes of what routers decided: how their sums have grown.
#pragma once

#include <chrono>
#include <deque>
#include <mutex>
#include <vector>

#include "engine/base/clock.h"
#include "engine/runtime/route_fold.h"

namespace switchyard {

// Thread-safe. Memory: kLength / kInterval copies of the sums, some KiB each.
class RouteWindow {
 public:
  static constexpr std::chrono::seconds kLength{300};
  static constexpr const char* kName = "5m";
  static constexpr std::chrono::seconds kInterval{15};

  // Keeps what the sums are at `now`. Called every kInterval; `now` does not go back.
  void Note(Clock::Time now, std::vector<RouterSums> sums);
  // What came to `sums` in the last kLength, to the precision of the notes; all of it while the notes do not reach back that far, and for a
  // snapshot that was not in use then.
  RouterSums Growth(Clock::Time now, RouterSums sums) const;

 private:
  struct Entry {
    Clock::Time time;
    std::vector<RouterSums> sums;
  };
  mutable std::mutex mutex_;
  std::deque<Entry> entries_;  // guarded by mutex_; oldest first, the first one at most a note older than kLength
};

}  // namespace switchyard
