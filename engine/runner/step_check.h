// Refuses a step that breaks a rule of engine/runtime/model_runner.h, before anything is computed or the KV pool is touched.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"

namespace switchyard {

// Remembers which slots a step writes without clearing a table each time. Used only on the engine thread.
class StepCheck {
 public:
  StepCheck(int64_t slots, int64_t max_positions) : written_(slots, 0), max_positions_(max_positions) {}
  // INTERNAL names the segment or query, the rule, and the value found. `has_router`: the snapshot can route by itself.
  Status Check(const Step& step, const SnapshotInfo& info, bool has_router);

 private:
  Status CheckSegments(const Step& step, const SnapshotInfo& info, bool has_router);
  Status CheckSlots(const Segment& segment, size_t index);

  std::vector<uint32_t> written_;  // [slots] number of the last step that wrote the slot
  uint32_t step_number_ = 0;
  const int64_t max_positions_;
};

}  // namespace switchyard
