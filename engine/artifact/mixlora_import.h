// Turns a MixLoRA adapter (Li et al., 2404.15159) into experts and a router for a base.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

struct MixLoraOptions {
  std::string adapter_directory;  // adapter_config.json and adapter_model.bin or .safetensors
  std::string base_directory;
  std::string out_directory;         // must not exist; gets experts/NAME, router/ and perhaps base/
  std::vector<std::string> experts;  // in router order; empty: expert0, expert1, ...
  // MixLoRA may adapt attention as well, alike for all experts. Then a base of its own is needed: out_directory/base, to which experts and
  // router are bound.
  bool merge_attention = false;
};

struct MixLoraReport {
  std::vector<std::string> experts;
  int32_t top_k = 0;
  int32_t rank = 0;
  int32_t layers = 0;
  bool merged_base = false;
  std::vector<std::string> notes;  // what a person should know
};

// A linear router, softmax over all experts, the top k renormalised; there is no zero expert. INVALID_ARGUMENT for options and shapes that
// do not fit, UNIMPLEMENTED by name for what would not be computed as MixLoRA does (X-LoRA and LoRAMoE among it), DATA_LOSS for broken
// files, FAILED_PRECONDITION for LoRA on attention without merge_attention; ALREADY_EXISTS when `out_directory` is there. The directory is
// written beside its name and renamed when whole.
StatusOr<MixLoraReport> ImportMixLora(const MixLoraOptions& options);

}  // namespace switchyard
