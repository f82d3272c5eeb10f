// What a run says of itself while it goes: a JSON line a step in `log.jsonl`, TensorBoard scalars, a file for Prometheus, and one progress
// line on the terminal.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"

namespace switchyard::trainer {

// One step's figures; names are TensorBoard tags ("train/loss", "routing/max_vio").
struct StepRecord {
  int64_t step = 0;  // of `total_steps`
  int64_t total_steps = 0;
  double epoch = 0;
  int64_t tokens = 0;  // of this step
  double seconds = 0;  // of this step
  std::vector<std::pair<std::string, double>> scalars;
};

// Thread-compatible.
class RunLog {
 public:
  struct Options {
    std::string directory;  // gets log.jsonl (appended to) and tensorboard/
    bool tensorboard = true;
    std::string metrics_file;  // replaced every few seconds (metrics_file.h); "": none
    // Writes one line of progress: on a terminal it replaces the last one, elsewhere it is printed every ten seconds at most.
    bool progress = true;
    // Scalars shown in the progress line, in this order, by their last part: "loss 1.234  acc 0.56".
    std::vector<std::string> shown = {"train/loss"};
    std::string title;  // "expert medicine"
  };
  static StatusOr<std::unique_ptr<RunLog>> Open(const Options& options);
  virtual ~RunLog() = default;
  // The run goes on after `step` steps, 0: from the beginning. What a killed run had logged beyond is cut off, so that every step stands
  // there once; TensorBoard is told the same.
  virtual Status GoOnFrom(int64_t step) = 0;
  // Adds "tokens_per_second"; the progress line carries loss, tokens/s (moving average) and the remaining time.
  virtual Status Step(const StepRecord& record) = 0;
  // A line of its own: an evaluation, a checkpoint, a warning. `kind` is its "event" in the JSON.
  virtual Status Event(const std::string& kind, int64_t step, const std::string& message,
                       const std::vector<std::pair<std::string, double>>& scalars) = 0;
  virtual Status Close() = 0;
};

}  // namespace switchyard::trainer
