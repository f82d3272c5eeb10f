// What the live page shows, as JSON: counters since start, what is served and since when. The page makes rates of two readings.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <string>

#include "engine/runtime/engine.h"
#include "server/request_metrics.h"

namespace switchyard {

// Thread-safe. Engine and metrics must outlive it.
class StatusJson {
 public:
  StatusJson(const Engine& engine, const RequestMetrics& requests, std::string dtype, bool untrained);

  // Notes which generations are served now: their age counts from the first time they are noted. Called once a reload interval.
  void Observe();
  void SetDraining() { draining_ = true; }

  // Figures that are not defined (an entropy without routed tokens) are sums of 0 rows: the reader divides.
  std::string Text();

 private:
  double AgeOf(const std::string& key);  // seconds; notes it when it is new. REQUIRES mutex_

  const Engine& engine_;
  const RequestMetrics& requests_;
  const std::string dtype_;
  const bool untrained_;
  const std::chrono::system_clock::time_point start_ = std::chrono::system_clock::now();
  std::atomic<bool> draining_{false};
  std::mutex mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> first_seen_;  // guarded by mutex_; only what is served
};

}  // namespace switchyard
