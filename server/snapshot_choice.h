// Which of the served snapshots a request runs on.
#pragma once

#include <memory>
#include <string>

#include "engine/base/status.h"
#include "engine/runtime/serving_set.h"
#include "server/call_common.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard {

// Where a key stands in [0, 1): the same for ever, on every machine.
double KeyPosition(const std::string& key);

// The key a request is placed by: what its call's metadata says, else its own id.
template <typename Request>
const std::string& CanaryKey(const CallTerms& terms, const Request& request) {
  return terms.key.empty() ? request.id() : terms.key;
}

// A request that pins generations gets the snapshot that has them, stable before canary; FAILED_PRECONDITION names the pinned and the
// served ones. Any other goes to the canary when its key lies in the canary's share: the same key always to the same side. An empty key is
// drawn. The caller leases the result once, so that what was validated is what runs, whatever is published meanwhile.
StatusOr<std::shared_ptr<const Snapshot>> ChooseSnapshot(const ServingSet& serving, const v1::PinnedGenerations& pinned,
                                                         const std::string& key);

}  // namespace switchyard
