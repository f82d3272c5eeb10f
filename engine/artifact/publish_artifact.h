// Brings an expert or a router to where a server takes its artifacts from, so that the server sees all of it or nothing.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/status.h"

namespace switchyard {

struct PublishedArtifact {
  std::string kind;        // "expert" or "router"
  std::string generation;  // of a router; empty for an expert, whose generation needs the base
  int files = 0;
  int64_t bytes = 0;
};

// Copies the files at the top of `source` (links are followed; folders in it are left out) beside `destination`, verifies the copy as far
// as can be done without a base (a router whole; an expert's config and tensor file), syncs it and renames it. On error nothing is at
// `destination` and nothing beside it. ALREADY_EXISTS when `destination` is there; INVALID_ARGUMENT when `source` is neither; NOT_FOUND,
// DATA_LOSS as the readers say; RESOURCE_EXHAUSTED, INTERNAL: the disk.
StatusOr<PublishedArtifact> PublishArtifact(const std::string& source, const std::string& destination);

}  // namespace switchyard
