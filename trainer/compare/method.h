// What a comparison is asked for: methods, each with one artifact or several (a seed each), and what belongs together.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace switchyard::trainer {

enum class MethodKind {
  kRouter,  // artifacts
  kBase,    // no expert anywhere
  kRandom,  // a router drawn by the seed, over the experts of the first method with an artifact
  kOracle,  // every set is answered by the expert of its name, else by the zero expert or the base: told the domain, so no method at all
};

struct MethodSpec {
  std::string name;  // unique
  MethodKind kind = MethodKind::kRouter;
  std::vector<std::string> directories;  // of artifacts, for kRouter
  int32_t top_k = 0;                     // in place of the artifact's own; 0: that
};

// NAME=DIR[,DIR...][:K], or one of base, random, oracle.
StatusOr<MethodSpec> ParseMethod(std::string_view text);

// A name and what is listed with it.
struct NamedList {
  std::string name;
  std::vector<std::string> items;  // at least one, none empty
};
// NAME=A[,B...]; `option` is for messages.
StatusOr<NamedList> ParseNamedList(std::string_view option, std::string_view text);

}  // namespace switchyard::trainer
