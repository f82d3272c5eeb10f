// A router while it is trained: per layer, hidden states in, gates out, with the losses that keep it healthy. One file a method. Built on
// LibTorch's autograd: routers are small, and a new method then is a few lines; the heavy blocks around it are not on the tape.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/artifact/router_artifact.h"
#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"
#include "engine/routing/layer_routes.h"
#include "engine/routing/router_input.h"
#include "trainer/nn/dispatch.h"
#include "trainer/nn/loss_parts.h"
#include "trainer/nn/parameter.h"

namespace switchyard::trainer {

// Of kind lpr. The defaults are the paper's.
struct LatentOptions {
  int32_t dimension = 16;  // of the latent space, when it is drawn
  double loss = 0.01;      // of the three together; each also has its own coefficient
  double diversity = 1, kl = 0.01, align = 0.1;
  double decay = 0.8;  // after a step a key is so much itself and the rest the mean of its tokens
};

struct RouterOptions {
  std::string kind = "dense2moe_mlp";  // or "linear", "expert_choice", "stablemoe", "lpr"; of what was published any kind the engine knows
  int32_t top_k = 1;
  // How selected probabilities become gates. "ste": top-1, forward weight 1, gradient of the dense mixture (methods.md 1.1); "renorm":
  // divided by their sum; "raw": as they are (Switch); "sigmoid": top-1, 1 / (1 + exp(-logit)) of the largest logit (StableMoE).
  std::string gate = "ste";
  // Lambda of the balance loss: E sum_i f_i P_i, f_i the share of rows that chose i and P_i its mean weight. With gate sigmoid StableMoE's:
  // sum_i (n_i / mean n - 1) s_i, n_i the rows that chose i and s_i the sum of their gates over the number of rows.
  double balance = 0;
  // Of linear: Loss-Free Balancing. A bias a layer and expert, added to the probabilities when experts are chosen only, moves by this much
  // after every step towards `load_target` (AfterStep). 0: there is none, or what was read stays as it is.
  double loss_free = 0;
  std::vector<double> load_target = {};  // [E] share of the selected slots each expert should get; below 0: as many as come, its bias stays
  double z_loss = 0;                     // coefficient of mean (logsumexp logits)^2
  // Gamma of "Advancing Expert Specialization" (2505.22323, L_v): minus the variance of each expert's score over the rows, mean over rows and
  // experts. Scores are what the balance loss calls weights; with gate sigmoid the gates.
  double score_variance = 0;
  double roma = 0;                // lambda of the manifold regulariser (RouteNeighbours); 0: none
  int64_t roma_warmup_steps = 0;  // over which it rises from 0
  double label_loss = 0;  // coefficient of the cross entropy against the experts that rows are labelled with (methods.md 6.1), a layer
  // While training; else each row takes its own top-k. "expert-choice" is the kind expert_choice's, and its alone.
  DispatchOptions dispatch = {};
  LatentOptions latent = {};
  bool exact = false;  // of expert_choice: experts choose among all rows when it is evaluated, too: for analysis
  // Of both dispatches of MaxScore: gates of slots after the first are multiplied by this much at step 0, ever less from step to step, and by 1 from
  // step `second_weight_steps` on.
  double second_weight = 1;
  int64_t second_weight_steps = 1;
  double jitter = 0;                       // x * U(1 - jitter, 1 + jitter) while training
  double dropout = 0;                      // between the two layers of dense2moe_mlp while training
  at::ScalarType compute = at::kBFloat16;  // of the products; parameters, softmax and losses are f32
};

// What one layer's router said of T rows.
struct RouterOutput {
  at::Tensor gates;          // [T, E] f32, zero where not selected; on the tape
  at::Tensor loss;           // scalar: the router's own losses with their coefficients; on the tape, undefined when all are off
  LossParts parts = {};      // what it is made of
  at::Tensor probabilities;  // [T, E] f32, detached
  LayerRoutes routes;        // the selection, as serving makes it or, where there is dispatch, as that does
  bool dense_gradient = false;

  void Add(LossPart part, const at::Tensor& value);
};

// RoMA (2511.07419): how rows like some of this batch's were routed when they were answered well. These are constants; what is pulled is the
// route the router gives now. (Recorded routes on both sides, as in the code that was published, have no gradient and teach nothing.)
struct RouteNeighbours {
  std::vector<int64_t> rows;       // [n] of the batch
  at::Tensor weights;              // [n, N] how near each of a row's N neighbours is; sums to 1, 0 where there are fewer
  std::vector<at::Tensor> routes;  // [L] of [n, N, E] f32: probabilities; undefined in layers that are left alone
};

// What a batch's rows are held to beside the answers.
struct RowTargets {
  std::vector<int32_t> labels;  // [T] the expert a row should go to, -1 for none; or empty
  RouteNeighbours neighbours;   // of some rows, by which RouterOptions::roma pulls
};

// Not thread-safe.
class RouterModule {
 public:
  virtual ~RouterModule() = default;
  // in.x [T, H] f32. `generator` draws jitter and dropout; null: evaluation. INTERNAL when a logit is not finite.
  // Virtual for what is no choice by softmax: a gate of one expert, fixed routes.
  virtual StatusOr<RouterOutput> Forward(int32_t layer, const RouterInput& in, at::Generator* generator,
                                         const RowTargets& targets = {}) const;

  virtual std::vector<Parameter> LayerParameters(int32_t layer) const = 0;
  // What belongs to a layer, is kept with its parameters and has no gradient: a selection bias.
  virtual std::vector<Parameter> LayerState(int32_t /*layer*/) const { return {}; }
  std::vector<Parameter> Parameters() const;  // of all layers, state included
  // Before the passes of optimiser step `step`, from 0: what follows the steps.
  void BeforeStep(int64_t step) const { step_ = step; }
  // After an optimiser step whose rows chose `expert_rows` [L, E]: moves what is not moved by gradients.
  virtual void AfterStep(std::span<const double> /*expert_rows*/) const {}
  // What it summed up over a step's rows, [.] f32 each, to be summed over the processes of a run before AfterStep.
  virtual std::vector<at::Tensor> StepSums() const { return {}; }
  // Whether it looks token ids up, as the engine's Router::vocabulary.
  virtual bool looks_at_tokens() const { return false; }
  // Whether it has something to measure once it is trained.
  virtual bool calibrates() const { return false; }
  // Measures it over what Forward made of rows of the training data: probabilities [N, E] f32. REQUIRES: calibrates().
  virtual void Calibrate(int32_t /*layer*/, const at::Tensor& /*probabilities*/) {}
  // What the artifact stores of a layer: "layers.{l}.router.*".
  virtual std::vector<TensorView> Tensors(int32_t layer) const = 0;

  const RouterOptions& options() const { return options_; }
  int32_t num_layers() const { return num_layers_; }
  int32_t num_experts() const { return num_experts_; }

 protected:
  RouterModule(RouterOptions options, int32_t layers, int32_t experts)
      : options_(std::move(options)), num_layers_(layers), num_experts_(experts) {}
  // As the engine's Router::SelectionBias.
  virtual std::span<const float> SelectionBias(int32_t /*layer*/) const { return {}; }
  virtual std::span<const float> SelectionFloor(int32_t /*layer*/) const { return {}; }
  // Whether options().dispatch holds outside training, too.
  virtual bool DispatchesAlways(int32_t /*layer*/) const { return false; }
  // logits [T, E] f32 on the tape.
  virtual at::Tensor Logits(int32_t layer, const RouterInput& in, at::Generator* generator) const = 0;

  const RouterOptions options_;
  const int32_t num_layers_, num_experts_;

 private:
  // mean over rows of sum_j w_j |p - r_j|^2, p [T, E] on the tape; undefined when there is nothing to pull to.
  at::Tensor Pull(int32_t layer, const at::Tensor& p, const RouteNeighbours& neighbours) const;
  // [T, E]: what gates of dispatched rows are multiplied by.
  at::Tensor SlotScale(const LayerRoutes& routes) const;

  mutable int64_t step_ = 0;
};

// Drawn by seed as torch.nn.Linear draws (uniform in +-1/sqrt(in)). INVALID_ARGUMENT for an unknown kind or gate, or a top_k that does not
// fit.
StatusOr<std::unique_ptr<RouterModule>> NewRouter(const RouterOptions& options, int32_t layers, int32_t hidden, int32_t experts,
                                                  uint64_t seed);
// To train on, or evaluate, what was published. The artifact's kind; `options` gives the rest. A kind that is not trained comes back as the
// engine's own router, without parameters.
StatusOr<std::unique_ptr<RouterModule>> ReadRouter(const RouterArtifact& artifact, const RouterOptions& options);

// The engine's router under this room's face: it computes what a server computes and has nothing to train.
StatusOr<std::unique_ptr<RouterModule>> MakeServed(const RouterArtifact& artifact, const RouterOptions& options);

// The kinds.
std::unique_ptr<RouterModule> MakeDense2MoeMlp(const RouterOptions& options, std::vector<std::vector<Parameter>> layers);
std::unique_ptr<RouterModule> MakeExpertChoice(const RouterOptions& options, std::vector<std::vector<Parameter>> layers);
std::unique_ptr<RouterModule> MakeLatentPrototype(const RouterOptions& options, std::vector<std::vector<Parameter>> layers);
std::unique_ptr<RouterModule> MakeLinear(const RouterOptions& options, std::vector<std::vector<Parameter>> layers);
// tables: [L] of [V] I32, each entry an expert's index.
std::unique_ptr<RouterModule> MakeStableMoe(const RouterOptions& options, std::vector<std::vector<Parameter>> layers,
                                            std::vector<at::Tensor> tables);
// StableMoE's second stage after its first: the affinities of `first`, a linear artifact of weight mode sigmoid, and these tables.
// INVALID_ARGUMENT when it is none.
StatusOr<std::unique_ptr<RouterModule>> StableMoeFrom(const RouterArtifact& first, const RouterOptions& options,
                                                      const std::vector<std::vector<int32_t>>& tables);

}  // namespace switchyard::trainer
