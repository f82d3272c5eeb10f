// A base with experts and a router as a training run sees it: one call computes a batch's loss and adds the gradients.
//
// Two implementations: the fast one, whose heavy blocks have hand-written backward passes on the serving kernels and cost about what the
// algebra says (performance: two passes over the frozen weights, whatever the number of experts), and a plain one on LibTorch's autograd in
// which every expert runs on every row: the oracle of the tests and the yardstick of the benchmark.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "trainer/data/batch_sampler.h"
#include "trainer/nn/base_weights.h"
#include "trainer/nn/lora.h"
#include "trainer/nn/mixture_block.h"
#include "trainer/nn/packed_linear.h"
#include "trainer/nn/router_module.h"

namespace switchyard::trainer {

// Who answers a batch's rows.
struct RoutePlan {
  static constexpr int32_t kBase = -1;
  const RouterModule* router = nullptr;  // learned, in every layer
  RowTargets targets;                    // with one
  std::vector<int32_t> forced;           // without a router: [T] the expert of each row in every layer, or kBase; empty: all base
};

struct TrainPass {
  double loss_scale = 1;         // of the sum over targets of -log p: 1 / all targets of the optimiser step
  double router_loss_scale = 1;  // of the layers' balance and z-losses: this batch's share of the step
  // Coefficient of OrthogonalityLoss (expert_orthogonality.h), mean over the rows, a layer. Not with router_losses_only: it is the experts'.
  double orthogonality = 0;
  double lora_dropout = 0;
  bool router_losses_only = false;  // no gradient of the model's loss: forward and the routers' own losses, a third of the cost
  uint64_t seed = 0;                // of dropout and jitter in this batch
};

// Sums, so that batches and processes add up.
struct PassResult {
  double loss = 0;  // sum of -log p over the targets
  int64_t targets = 0;
  int64_t correct = 0;     // targets that were the argmax
  double router_loss = 0;  // of losses beside the answers': sum over layers, with coefficients, mean over this batch
  LossParts parts = {};    // what it is made of
  int64_t rows = 0;
  std::vector<double> expert_rows;    // [L, E] rows that selected the expert; empty without a router
  std::vector<double> expert_weight;  // [L, E] gates given to it
  std::vector<double> entropy;        // [L] sum over rows, nats
};
void Add(const PassResult& from, PassResult* to);

// What an evaluation can return beside the sums.
struct EvaluationDetail {
  std::vector<float> log_probs;           // [A] of the targets
  std::vector<bool> correct;              // [A] whether the target was the argmax
  std::vector<LayerRoutes> routes;        // [L]; with a router
  std::vector<at::Tensor> router_inputs;  // [L] of [T, H] f32; with a router
};

struct ModelOptions {
  bool train_attention = false;  // q, k, v and o of every layer
  bool recompute = false;        // keep only each layer's input and compute the layer again on the way back
};

// Used on the training thread only. Borrows everything it was made from.
class TrainableModel {
 public:
  virtual ~TrainableModel() = default;
  // Adds to the gradients of the trainable parameters. INTERNAL when the loss is not finite.
  virtual StatusOr<PassResult> ForwardBackward(const PackedBatch& batch, const RoutePlan& plan, const TrainPass& pass) = 0;
  // No gradients, no dropout, no jitter. `detail` may be null.
  virtual StatusOr<PassResult> Evaluate(const PackedBatch& batch, const RoutePlan& plan, EvaluationDetail* detail) = 0;
  // The base's own trainable parameters (attention); experts and routers have theirs.
  virtual std::vector<Parameter> Parameters() const = 0;
  // After an optimiser step: packed copies follow the values. Experts have their own.
  virtual void Repack() = 0;
};

std::unique_ptr<TrainableModel> MakeFastModel(const TrainCompute& compute, const BaseWeights& base, std::vector<LoraExpert>& experts,
                                              const ModelOptions& options);
// f32 or bf16 by compute.dtype; computes every expert on every row. Ignores `recompute` and dropout; refuses neither.
std::unique_ptr<TrainableModel> MakeReferenceModel(const TrainCompute& compute, const BaseWeights& base, std::vector<LoraExpert>& experts,
                                                   const ModelOptions& options);

// The gates of fixed routes.
Gates FixedGates(const RoutePlan& plan, int64_t rows, int32_t experts);
void CountLoss(LossPart part, double value, PassResult* out);
// Adds one layer's routes to the counts; `out` knows L and E by its sizes.
void CountRoutes(int32_t layer, const RouterOutput& router, int32_t experts, PassResult* out);

}  // namespace switchyard::trainer
