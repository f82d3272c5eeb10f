// The state of a run as a Prometheus text file, for the textfile collector of node_exporter: a run comes and goes, so nothing scrapes it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/status.h"

namespace switchyard::trainer {

// docs/metrics.md lists what it writes. Thread-compatible.
class MetricsFile {
 public:
  // `run` becomes the label of every series. `clock` must outlive the file.
  MetricsFile(std::string path, std::string run, const Clock* clock = Clock::Real())
      : path_(std::move(path)), run_(std::move(run)), clock_(clock) {}

  // A step of the run; `tokens` and `seconds` are that step's.
  void Step(int64_t step, int64_t total_steps, double epoch, int64_t tokens, double seconds);
  // TensorBoard tags and their values; tags without a metric are left out.
  void Scalars(const std::vector<std::pair<std::string, double>>& scalars);

  // Writes beside the path and renames: a reader sees a whole file. Without `now` not more often than every kInterval. FAILED_PRECONDITION
  // when the path cannot be written.
  Status Write(bool now);
  static constexpr std::chrono::seconds kInterval{5};

 private:
  std::string Text() const;

  const std::string path_, run_;
  const Clock* const clock_;
  std::optional<Clock::Time> written_;
  int64_t step_ = 0, total_steps_ = 0, steps_ = 0, tokens_ = 0;
  double epoch_ = 0, seconds_ = 0;
  std::map<std::string, std::map<std::string, double>> values_;  // metric -> its further labels -> value
};

}  // namespace switchyard::trainer
