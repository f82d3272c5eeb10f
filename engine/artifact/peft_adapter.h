// A PEFT LoRA directory: adapter_config.json and adapter_model.safetensors, feed-forward part.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/artifact/model_config.h"
#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"

namespace switchyard {

enum class FfnProjection { kGate = 0, kUp = 1, kDown = 2 };

// One low-rank pair. delta = scale * B A.
struct LoraPair {
  TensorView a;  // [rank, in]
  TensorView b;  // [out, rank]
  int32_t rank = 0;
  double scale = 0;  // alpha / r, or alpha / sqrt(r) with use_rslora, patterns applied
};

struct LoraLayer {
  std::optional<LoraPair> gate, up, down;  // absent: the base projection untouched
};

// What was in the file and what became of it.
struct CoverageReport {
  int64_t expected = 0;  // tensors the config's target_modules and layers ask for, feed-forward part
  int64_t loaded = 0;
  std::vector<std::string> missing;
  std::vector<std::string> ignored;  // named tensors that are no part of an expert, e.g. attention LoRA (only with allow_attention)
};

struct PeftAdapter {
  std::string directory;
  std::string generation;  // SHA-256, hex, over config and weights
  int32_t max_rank = 0;
  std::vector<LoraLayer> layers;  // one a layer of the base
  CoverageReport coverage;
  bool untrained = false;  // "switchyard_untrained": true in adapter_config.json: a seeded fixture
};

struct PeftReadOptions {
  bool allow_attention = false;   // ignore attention tensors (listed in the report) instead of refusing the adapter
  bool allow_zero_delta = false;  // accept an adapter whose delta is zero everywhere
};

// Every field of adapter_config.json is honoured or refused by name (UNIMPLEMENTED with the field and its value). INVALID_ARGUMENT for
// shapes that do not fit `base`; DATA_LOSS for broken files, NaN or infinite weights, and a missing A or B.
StatusOr<PeftAdapter> ReadPeftAdapter(const std::string& directory, const ModelConfig& base, const PeftReadOptions& options);

}  // namespace switchyard
