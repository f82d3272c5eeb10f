// Seeded stand-ins for models that cannot be had and experts that are not trained yet: what demos, benchmarks and tests run on. Everything
// written here says of itself that it is untrained, and servers and clients repeat it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/artifact/model_config.h"
#include "engine/base/status.h"

namespace switchyard {

struct RandomBaseOptions {
  std::string directory;           // must not exist
  ModelConfig config;              // architecture and shape; vocab_size included
  std::string dtype = "bfloat16";  // or "float32"
  uint64_t seed = 1;
};
// config.json, generation_config.json, model.safetensors. No tokenizer: the caller copies one in.
Status WriteRandomBase(const RandomBaseOptions& options);

struct FixtureOptions {
  std::string base_directory;
  std::string out_directory;  // must not exist; gets experts/NAME and router/
  struct Expert {
    std::string name;
    int32_t rank = 8;
  };
  std::vector<Expert> experts;                // at least one, unique names
  bool include_zero = true;                   // a zero expert named "zero" comes last in router order
  std::string router_kind = "dense2moe_mlp";  // or "linear"
  int32_t top_k = 2;
  std::string weight_mode = "renorm";
  double delta_scale = 0.02;  // expected size of an expert's delta, relative to a unit-scale projection
  uint64_t seed = 7;
};
// PEFT directories and a router bound to them, with golden probes. Deterministic by seed on every machine.
Status WriteFixtures(const FixtureOptions& options);

}  // namespace switchyard
