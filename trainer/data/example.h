// What a training run learns from: token sequences of which only the answer counts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace switchyard::trainer {

struct Example {
  std::vector<int32_t> tokens;  // prompt, then answer; at most the run's max_tokens
  int32_t answer_begin = 0;     // tokens [answer_begin, size) are predicted, each from all before it; at least 1
  int32_t domain = 0;           // index into Dataset::domains
};

struct BadLine {
  std::string file;
  int64_t line = 0;
  std::string reason;
};

// Immutable after loading; thread-safe.
struct Dataset {
  std::vector<std::string> domains;
  std::vector<Example> examples;
  std::vector<BadLine> bad;  // records that could not be used, and why
  int64_t over_long = 0;     // examples longer than max_tokens, left out (counted in bad as well)
  std::string fingerprint;   // SHA-256, hex, over the examples in order: a resumed run must find the same data
};

}  // namespace switchyard::trainer
