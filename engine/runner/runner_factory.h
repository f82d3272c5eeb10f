// The torch-free door to the LibTorch implementation of ModelRunner: what the server and the tools include.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"
#include "engine/runtime/snapshot_builder.h"

namespace switchyard {

struct RunnerOptions {
  std::string base_directory;  // Hugging Face directory
  struct Expert {
    std::string name;       // unique
    std::string directory;  // PEFT directory; "" for the zero expert
  };
  std::vector<Expert> experts;          // in router order
  std::string router_directory;         // "" for none: learned routing is then refused
  std::string dtype = "auto";           // "bf16", "f32", "auto": what config.json says, bf16 for anything of 16 bits
  std::string backend = "auto";         // "fast": own CPU kernels; "reference": plain ATen; "auto": fast
  std::string mixture = "single_down";  // fast backend's way to mix: "single_down" | "mixlora" | "naive" (the last two for benchmarks)
  int threads = 0;                      // 0: the number of cores
  int64_t kv_bytes = 512ll << 20;       // KV pool budget
  int32_t kv_block_tokens = 16;
  bool allow_attention_lora = false;  // ignore attention tensors of experts
};

struct LoadReport {
  std::string base_dtype;
  int64_t base_bytes = 0;
  int64_t expert_bytes = 0;
  int64_t router_bytes = 0;
  int64_t kv_bytes = 0;
  double seconds = 0;
  bool untrained = false;          // an expert or the router says it is an untrained fixture
  std::string isa;                 // instruction set of the kernels
  std::vector<std::string> notes;  // coverage reports and the like, a line each
};

struct LoadedRunner {
  std::unique_ptr<ModelRunner> runner;
  std::unique_ptr<SnapshotBuilder> builder;  // loads more over the same base
  SnapshotPlan plan;                         // the parts the runner's own snapshot was built of
  LoadReport report;
};

// Loads everything, verifies hashes, shapes, finite values and the router's binding, replays golden probes. On error nothing stays loaded.
StatusOr<LoadedRunner> LoadRunner(const RunnerOptions& options);

}  // namespace switchyard
