// Counts and times of requests, by method and final code. The numbers behind /metrics; see server/metrics_collectable.h.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/latency_histogram.h"
#include "engine/base/status.h"

namespace switchyard {

// Thread-safe. Outlives every Request.
class RequestMetrics {
 public:
  static constexpr std::array<const char*, 5> kMethods = {"Generate", "Score", "ScoreStream", "Route", "GetModel"};

  // One request from arrival to end. Used by one call; End exactly once.
  class Request {
   public:
    void FirstResult();  // the first token is there; later calls are ignored
    void End(const Status& status);

   private:
    friend class RequestMetrics;
    Request(RequestMetrics* metrics, size_t method) : metrics_(metrics), method_(method), start_(std::chrono::steady_clock::now()) {}
    double Elapsed() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
    RequestMetrics* metrics_;
    size_t method_;
    std::chrono::steady_clock::time_point start_;
    bool first_result_ = false;
  };
  Request Begin(const std::string& method);

  std::map<std::pair<std::string, std::string>, uint64_t> totals() const;  // (method, code) -> requests
  const LatencyHistogram& duration(size_t method) const { return duration_[method]; }
  const LatencyHistogram& first_token() const { return first_token_; }

 private:
  std::array<LatencyHistogram, kMethods.size()> duration_;
  LatencyHistogram first_token_;
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, uint64_t> totals_;  // guarded by mutex_
};

}  // namespace switchyard
