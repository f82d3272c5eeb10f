// TensorBoard event files: TFRecord frames (length, masked CRC-32C, payload) of tensorflow.Event messages, encoded by hand, since the
// trainer links no protobuf. TensorBoard reads them while the run goes on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace switchyard::trainer {

// Thread-compatible. One file a process start: events.out.tfevents.SECONDS.HOST; a resumed run adds a file, and TensorBoard joins them by
// step.
class EventWriter {
 public:
  static StatusOr<std::unique_ptr<EventWriter>> Create(const std::string& directory);
  virtual ~EventWriter() = default;
  virtual Status Scalar(std::string_view tag, int64_t step, double value) = 0;
  virtual Status Text(std::string_view tag, int64_t step, std::string_view markdown) = 0;
  // From here on the run is at `step`: TensorBoard forgets what earlier files say of it and later steps.
  virtual Status Start(int64_t step) = 0;
  virtual Status Flush() = 0;
};

}  // namespace switchyard::trainer
