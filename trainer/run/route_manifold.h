// RoMA's manifold (2511.07419): training examples that lie near each other should be routed alike, as those of them were that the model
// answered right when the run began.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "trainer/data/batch_sampler.h"
#include "trainer/data/example.h"
#include "trainer/nn/model.h"

namespace switchyard::trainer {

struct ManifoldOptions {
  int32_t neighbours = 3;  // of each example
  int32_t layers = 5;      // the last so many are held
  double sigma = 0.4;      // of the kernel exp(-d^2 / 2 sigma^2) over the distances d = 1 - cosine
  double right = 1;        // an example was answered right when at least this part of its answer's tokens were the argmax
};

// exp(-d^2 / 2 sigma^2) of each distance, divided by their sum.
std::vector<double> KernelWeights(const std::vector<double>& distances, double sigma);

// Immutable; thread-safe.
class RouteManifold {
 public:
  // One pass over `data` with model and router as they are, which is what makes it the same when a run goes on from a checkpoint: measure
  // before the checkpoint is read. An example's place is the mean over its prompt's rows of what the last layer's router sees, less the mean
  // over all examples (hidden states share one large direction); its route is the probabilities at the prompt's last row. FAILED_PRECONDITION
  // when no example was answered right. O(n^2 H) in the number n of examples.
  static StatusOr<RouteManifold> Measure(TrainableModel& model, const RouterModule& router, const Dataset& data,
                                         const ManifoldOptions& options, int64_t tokens_per_pass);

  // Of a batch packed from these examples: rows are their prompts' last ones. Examples without a neighbour are left out.
  RouteNeighbours Of(const std::vector<int64_t>& examples, const PackedBatch& batch) const;

  int64_t right() const { return right_; }  // examples that were answered right
  // Of one example, nearest first; never itself.
  const std::vector<int64_t>& NeighboursOf(int64_t example) const { return near_[example]; }

 private:
  const Dataset* data_ = nullptr;
  int32_t width_ = 0;  // neighbours asked for
  int64_t right_ = 0;
  std::vector<std::vector<int64_t>> near_;    // [n]
  std::vector<std::vector<double>> weights_;  // [n]
  std::vector<at::Tensor> routes_;            // [L] of [n, E], undefined below the layers that are held
};

}  // namespace switchyard::trainer
