// The training loop: batches, steps, validation, checkpoints, the log.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "trainer/data/example.h"
#include "trainer/log/run_log.h"
#include "trainer/nn/model.h"
#include "trainer/run/adamw.h"
#include "trainer/run/communicator.h"
#include "trainer/run/route_manifold.h"

namespace switchyard::trainer {

// What is trained. Everything is borrowed.
struct RunTask {
  TrainableModel* model = nullptr;
  std::vector<LoraExpert>* experts = nullptr;
  const RouterModule* router = nullptr;     // learned routes; null: every row goes to expert `forced`
  std::vector<int32_t> expert_of_domain;    // with a label loss: the expert that a training domain's rows should go to, -1 for none
  const RouteManifold* manifold = nullptr;  // with RouterOptions::roma: where its neighbours come from
  int32_t forced = 0;
  std::vector<Parameter> parameters;  // those the optimiser moves
};

struct RunOptions {
  std::string directory;  // gets checkpoints/
  int64_t steps = 100;
  int64_t examples_per_step = 16;
  int64_t tokens_per_pass = 2048;  // a step's examples are cut into passes of at most so many tokens; the result is the same up to rounding
  Schedule schedule;
  AdamWOptions adamw;
  double lora_dropout = 0;
  double orthogonality = 0;  // TrainPass::orthogonality
  int64_t label_steps = 0;   // the first steps see only the routers' own losses: they run forward alone
  uint64_t seed = 1;
  int64_t evaluate_every = 20;              // steps; 0: only at the end
  int64_t checkpoint_every = 50;            // steps; 0: never
  bool keep_best = true;                    // publish the parameters of the best validation loss in place of the last
  bool restart = false;                     // forget checkpoints
  std::string identity;                     // hash of everything that decides the run but the machine
  const std::atomic<bool>* stop = nullptr;  // set by a signal: a checkpoint is written and the run ends
};

struct RunReport {
  int64_t steps = 0;
  bool stopped = false;  // by RunOptions::stop: resume by running again
  bool resumed = false;
  double train_loss = 0;           // mean of -log p over the last steps' targets
  double validation_loss = 0;      // of the parameters that are kept; NaN without validation
  double validation_accuracy = 0;  // part of the validation targets that were the argmax
  int64_t best_step = -1;
  int64_t tokens = 0;
  double seconds = 0;
  PassResult validation;  // sums, with the routes
};

// Leaves the parameters at the best (or last) values, packed copies included. FAILED_PRECONDITION when a checkpoint of another run is in
// the way; INTERNAL when the loss or the gradient is not finite.
StatusOr<RunReport> Train(RunTask& task, const Dataset& train, const Dataset* validation, const RunOptions& options, Communicator& world,
                          RunLog* log);

// Sums over a data set, every row by the task's routes.
StatusOr<PassResult> EvaluateAll(const RunTask& task, const Dataset& data, int64_t tokens_per_pass, Communicator& world);

// Routing figures of a pass: means over layers. Names are TensorBoard tags.
std::vector<std::pair<std::string, double>> RoutingScalars(const PassResult& result, const std::vector<LoraExpert>& experts);

}  // namespace switchyard::trainer
