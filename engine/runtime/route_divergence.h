// How differently two routers treat the same rows: what a canary or a shadow is judged by.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"

namespace switchyard {

struct RouteDivergence {
  struct Layer {
    uint64_t rows = 0;
    uint64_t best_changed = 0;  // rows whose best expert is another one
    uint64_t set_changed = 0;   // rows whose selected set is another one
    double js_nats = 0;         // Jensen-Shannon divergence of the weights the rows' experts get, summed over rows: 0 to ln 2 each
  };
  std::vector<Layer> layers;

  void Add(const RouteDivergence& other);  // layers that only `other` has are appended
  Layer Sum() const;                       // over layers
};

// Row by row, layer by layer. Experts are the same when name and generation are; the zero experts, unused slots and the weight that no
// expert got all count as the base. INVALID_ARGUMENT when the traces differ in rows or layers. Pure.
StatusOr<RouteDivergence> CompareTraces(const RouteTrace& a, const SnapshotInfo& a_info, const RouteTrace& b, const SnapshotInfo& b_info);

}  // namespace switchyard
