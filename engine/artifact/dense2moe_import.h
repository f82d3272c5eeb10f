// Turns a Dense2MoE checkpoint (`pytorch_model.bin`, the state dict of the whole wrapped model) into experts and a router for a base.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

struct Dense2MoeOptions {
  std::string checkpoint;     // pytorch_model.bin
  std::string adapters_root;  // may be empty; NAME/final_adapter in it stand in for the LoRA a checkpoint without LoRA lacks
  std::string base_directory;
  std::string out_directory;                                                      // must not exist; gets experts/NAME and router/
  std::vector<std::string> experts = {"code", "medical", "law", "math", "zero"};  // in router order
  int32_t top_k = 1;
  bool round_probabilities_bf16 = true;  // as Dense2MoE computes them
  bool ignore_base_difference = false;   // accept a base whose values differ from the checkpoint's; shapes must fit all the same
};

struct Dense2MoeReport {
  struct Expert {
    std::string name;
    bool is_zero = false;
    int32_t max_rank = 0;
    std::string source;  // "checkpoint", or the adapter directory; "" for the zero expert
  };
  std::vector<Expert> experts;
  int64_t layers = 0;
  int64_t compared = 0;            // tensors of the base found in the checkpoint and compared value by value
  std::vector<std::string> notes;  // what a person should know: what was left out, assumed or unusual
};

// The last expert is the zero expert when every B of it is zero (or, without LoRA in the checkpoint, when it has no adapter directory);
// otherwise it was trained, and is kept as one more LoRA. Every tensor of the checkpoint has to be one the layout knows.
// INVALID_ARGUMENT for options and shapes that do not fit, naming both lists when the numbers of experts differ; FAILED_PRECONDITION for
// another base; UNIMPLEMENTED for an unknown tensor; DATA_LOSS for a broken file, a missing tensor, NaN; ALREADY_EXISTS when
// `out_directory` is there. The directory is written beside its name and renamed when whole. Memory: the checkpoint is mapped, experts are
// written one at a time.
StatusOr<Dense2MoeReport> ImportDense2Moe(const Dense2MoeOptions& options);

}  // namespace switchyard
