// Repeats a call that failed because the server was busy or away, waiting longer each time.
#pragma once

#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/support/status.h"

namespace switchyard::client {

struct RetryPolicy {
  int retries = 8;                                      // after the first attempt
  absl::Duration first_wait = absl::Milliseconds(100);  // doubles each time, with up to half taken off at random
  absl::Duration longest_wait = absl::Seconds(5);
  std::function<void(absl::Duration)> sleep = [](absl::Duration d) { absl::SleepFor(d); };  // tests put their own clock here
};

// The last attempt's status. Blocks in policy.sleep between attempts. Thread-safe.
grpc::Status CallWithRetry(const RetryPolicy& policy, const std::function<grpc::Status()>& call);

}  // namespace switchyard::client
