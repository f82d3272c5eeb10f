#include "client/retry.h"

#include <algorithm>
#include <random>

#include "client/rpc_error.h"

namespace switchyard::client {

grpc::Status CallWithRetry(const RetryPolicy& policy, const std::function<grpc::Status()>& call) {
  // Without the random part, all calls that were refused together come back together.
  thread_local std::minstd_rand random{std::random_device{}()};
  std::uniform_real_distribution<double> part(0.5, 1.0);
  absl::Duration wait = policy.first_wait;
  for (int attempt = 0;; ++attempt) {
    grpc::Status status = call();
    if (status.ok() || !IsTransient(status) || attempt >= policy.retries) return status;
    policy.sleep(wait * part(random));
    wait = std::min(wait * 2, policy.longest_wait);
  }
}

}  // namespace switchyard::client
