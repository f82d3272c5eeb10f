// How a router's bound experts and the served ones meet.
#pragma once

#include <string>
#include <vector>

#include "engine/catalog/content.h"
#include "engine/runtime/snapshot_builder.h"

namespace switchyard {

struct Coverage {
  std::vector<std::string> missing;     // bound, but not served in that generation: masked
  std::vector<std::string> unbound;     // served, but not bound: reached by name only
  std::vector<std::string> derived;     // served, not bound, and scored from their own matrices: routed to
  std::string bound_list, served_list;  // "law (3f2a1b9c), zero"

  bool exact() const { return missing.empty() && unbound.empty() && derived.empty(); }
};

Coverage CoverageOf(const RouterInfo& router, const std::vector<NamedArtifact>& experts);
// "router "r" (stable) was made with [...], served are [...]", and what follows from the difference.
std::string Explain(const Coverage& coverage, const std::string& router, RouterRole role);
// The first characters of a hash, for people.
std::string ShortHash(const std::string& generation);

}  // namespace switchyard
