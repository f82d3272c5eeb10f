// Progress of counted work on the error stream: a bar that redraws itself on a terminal, a plain line every few seconds elsewhere.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/terminal.h"

namespace switchyard::client {

// Used by one thread. The terminal must outlive it. Costs one clock reading a call; draws at most ten times a second.
class Progress {
 public:
  using Clock = std::function<absl::Time()>;

  // `total` counts all work, `already_done` the part finished in an earlier run (left out of the rate).
  Progress(Terminal& terminal, std::string what, int64_t total, int64_t already_done = 0, Clock clock = absl::Now);
  // Clears the bar, so that what follows starts on a clean line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Advance(bool failed);

  // Work of this run per second; 0 before any time has passed.
  double rate() const;
  absl::Duration elapsed() const { return clock_() - start_; }

 private:
  std::string Figures() const;
  void Draw();

  Terminal& terminal_;
  const std::string what_;
  const int64_t total_;
  const int64_t already_done_;
  const Clock clock_;
  const absl::Time start_;
  absl::Time last_draw_;
  int64_t done_ = 0;  // in this run
  int64_t failed_ = 0;
  bool bar_shown_ = false;
};

// "42 s", "3:07", "1:02:09"
std::string ShortDuration(absl::Duration duration);

}  // namespace switchyard::client
