// Drives a ModelRunner by hand, without scheduler: hands out KV slots in a scrambled order and runs whole sequences through steps.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine/runtime/model_runner.h"

namespace switchyard::testing {

// What the rows of one sequence computed: [rows][V] logits and the routes.
struct SequenceOutput {
  std::vector<std::vector<float>> logits;
  RouteTrace routes;
};

// Owns nothing but the free list; the runner must outlive it. Any error fails the running test and returns what there is.
class StepDriver {
 public:
  explicit StepDriver(ModelRunner& runner, uint32_t seed = 1);
  // What later steps run on; at first the runner's own snapshot.
  void Use(std::shared_ptr<const Snapshot> snapshot) { snapshot_ = std::move(snapshot); }

  // Slots nobody has, in no order.
  std::vector<int32_t> TakeSlots(size_t count);
  // A step with every row's logits asked for and every segment's routes recorded. Segments must cover `tokens`.
  StepResult Run(const std::vector<TokenId>& tokens, std::vector<Segment> segments);
  // All of `tokens` as one sequence, `chunk` rows a step (0: all in one).
  SequenceOutput Sequence(const std::vector<TokenId>& tokens, const RoutingPolicy& policy, size_t chunk = 0);
  // `count` greedy tokens after the prompt, one step each.
  std::vector<TokenId> Greedy(const std::vector<TokenId>& prompt, size_t count, const RoutingPolicy& policy);

 private:
  ModelRunner& runner_;
  std::shared_ptr<const Snapshot> snapshot_;
  std::vector<int32_t> free_;
};

// Appends the rows of `part` to `to`.
void AppendTrace(const RouteTrace& part, RouteTrace* to);

}  // namespace switchyard::testing
