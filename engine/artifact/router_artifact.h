// A router on disk: a directory with `router.json` (manifest) and `router.safetensors`, bound by hash to its base and its ordered experts.
// docs/formats.md describes every field.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/artifact/safetensors.h"
#include "engine/base/status.h"

namespace switchyard {

struct RouterExpertBinding {
  std::string name;
  std::string generation;  // SHA-256 of the adapter, hex; "zero" for the zero expert
  bool is_zero = false;
};

// Hidden states and the routes the router gave them when it was published; replayed at load.
// Tensors `probe.layers.{l}.x` [P, hidden] f32, `probe.layers.{l}.experts` [P, k] i32, `probe.layers.{l}.weights` [P, k] f32.
struct RouterManifest {
  int32_t format_version = 1;
  std::string name;
  std::string kind;  // a method of docs/routing-methods.md: "linear", "arrow", ...
  int32_t top_k = 1;
  std::string weight_mode;                // "renorm" | "raw" | "one" | "sigmoid": what they mean is in engine/routing/selection.h
  bool round_probabilities_bf16 = false;  // the Dense2MoE compatibility mode
  std::string mixing = "ffn";
  bool causal = true;
  bool separable = false;
  std::string derive;  // how a new expert's tensors follow from its own matrices: a rule of engine/routing/gate_directions.h; "": not
  std::string base_generation;  // fingerprint of the base, see BaseFingerprint
  int32_t num_layers = 0;
  int32_t hidden_size = 0;
  std::vector<RouterExpertBinding> experts;  // ordered
  std::string tensors_sha256;                // of router.safetensors
  bool untrained = false;
  int32_t golden_probes = 0;  // P
  // [num_layers][experts] which part of all selections each expert got over the training data; empty when not known.
  std::vector<std::vector<float>> load_shares;
  // How it was trained: options and what they were, for people. Empty when not known; at most 64 of at most 512 bytes.
  std::map<std::string, std::string> training;
};

struct RouterArtifact {
  RouterManifest manifest;
  std::string directory;
  std::string generation;                          // SHA-256 over manifest and tensors, hex
  std::shared_ptr<const SafetensorsFile> tensors;  // "layers.{l}.router.*"
};

// Verifies the hash, the format version, finite values. Binding against a base and experts is CheckRouterBinding.
StatusOr<RouterArtifact> ReadRouterArtifact(const std::string& directory);

// FAILED_PRECONDITION naming both lists when base or ordered experts differ.
Status CheckRouterBinding(const RouterManifest& manifest, const std::string& base_generation,
                          const std::vector<RouterExpertBinding>& experts);

// Stage, tensors, manifest last, sync, rename. Fills tensors_sha256. ALREADY_EXISTS when `directory` exists.
Status WriteRouterArtifact(const std::string& directory, RouterManifest manifest, const std::vector<TensorView>& tensors);

// SHA-256 over config.json and, per tensor in name order, name, dtype, shape and bytes: the base's generation. Cached beside the model in
// `.switchyard-fingerprint` keyed by file sizes and times (the cache is best effort).
StatusOr<std::string> BaseFingerprint(const std::string& model_directory);

}  // namespace switchyard
