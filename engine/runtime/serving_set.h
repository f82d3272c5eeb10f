// What new requests run on, published as one immutable thing: a swap exchanges one pointer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/runtime/model_runner.h"

namespace switchyard {

struct ServingSet {
  std::shared_ptr<const Snapshot> stable{};  // never null
  // A second router for a deterministic share of request keys; null: none.
  std::shared_ptr<const Snapshot> canary{};
  double canary_share = 0;  // [0, 1] of keys
  // A router that never answers: a sample of finished requests is computed again on it and compared; null: none.
  std::shared_ptr<const Snapshot> shadow{};
  double shadow_share = 0;  // [0, 1] of requests
  uint64_t revision = 0;    // grows with every publication
};

}  // namespace switchyard
