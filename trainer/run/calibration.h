// Routers that are made and not trained: every expert's tensors follow from its own matrices (Arrow, Autonomy of Experts, ERMoE), from
// hidden states of its own domain (mixtures of Gaussians), or were learned for that expert alone (PHATGOOSE). docs/routing-methods.md has
// the formulas.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/artifact/router_artifact.h"
#include "engine/base/status.h"
#include "engine/routing/gate_directions.h"
#include "trainer/data/example.h"
#include "trainer/nn/base_weights.h"
#include "trainer/nn/lora.h"
#include "trainer/run/hidden_states.h"
#include "trainer/run/mixture_fit.h"
#include "trainer/run/router_assembly.h"

namespace switchyard::trainer {

struct CalibrationOptions {
  std::string name = "router", kind = "arrow";  // arrow, aoe, ermoe, gmm or phatgoose
  std::string norm = "norm_ba";                 // of aoe; or norm_a
  bool calibrated = true;  // aoe: lengths are divided by their mean over a sample of hidden states, which the artifact keeps
  int64_t sample_rows = 64;
  double temperature = 1;     // of arrow
  int64_t dimensions = 16;    // of gmm: of the projection that all experts share
  MixtureFitOptions mixture;  // of gmm: each expert's
  int32_t top_k = 1;
  std::string weight_mode = "renorm";
  std::optional<double> zero_score;  // of every layer; else the quantile of the best expert's score over the hidden states
  double zero_quantile = 0.5;
};

// What calibration may look at. `gates`: PHATGOOSE's, [E] of [L] of [H], empty for the zero expert.
struct CalibrationInput {
  const BaseWeights* base = nullptr;
  const std::vector<LoraExpert>* experts = nullptr;  // in router order
  const HiddenStates* states = nullptr;              // null: no data
  std::vector<int32_t> expert_of_domain;  // by domain of the states; -1: the zero expert's. None of those: its score is set over all rows
  std::vector<std::vector<at::Tensor>> gates;
};

// The kinds this can make.
bool CanCalibrate(const std::string& kind);

// Bound to base and experts, with golden probes when there are hidden states. INVALID_ARGUMENT names what is missing: data, an option, or
// an expert without a gate delta.
StatusOr<RouterAssembly> CalibrateRouter(const CalibrationOptions& options, const CalibrationInput& input);

// `router` with one more expert, the last; everything it held stays bit for bit. FAILED_PRECONDITION when its base is
// another one; ALREADY_EXISTS when it has an expert of that name; UNIMPLEMENTED when an expert of its kind cannot be added alone.
//
// `gate`: PHATGOOSE's, [L] of [H]. `states`: of the expert's own domain, for gmm; null or empty otherwise.
StatusOr<RouterAssembly> AddExpert(const RouterArtifact& router, const BaseWeights& base, const LoraExpert& expert,
                                   const std::vector<at::Tensor>& gate, const HiddenStates* states, const CalibrationOptions& options);

// What an expert's gate matrices are, layer by layer.
ExpertGates GatesOf(const LoraExpert& expert);

}  // namespace switchyard::trainer
