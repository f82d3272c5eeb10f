// What the client's tests share: a terminal that writes into strings, a retry policy that does not wait.
#pragma once

#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/retry.h"
#include "client/terminal.h"
#include "gtest/gtest.h"
#include "tests/testing/files.h"

namespace switchyard::client {

inline std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// A terminal without colours whose output can be read.
struct StringTerminal {
  std::ostringstream out, err;
  Terminal terminal{out, err};
};

// Counts its waits instead of waiting.
class FakeWait {
 public:
  RetryPolicy Policy(int retries) {
    RetryPolicy policy;
    policy.retries = retries;
    policy.sleep = [this](absl::Duration wait) {
      const std::lock_guard<std::mutex> lock(mutex_);
      waits_.push_back(wait);
    };
    return policy;
  }
  std::vector<absl::Duration> waits() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return waits_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<absl::Duration> waits_;  // guarded by mutex_: a batch's workers wait at once
};

}  // namespace switchyard::client
