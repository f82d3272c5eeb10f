// A router beside experts it was not trained with.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/routing/router.h"

namespace switchyard {

// The logits of another router, each moved to where its expert stands in the snapshot; experts it does not know get -inf, logits of experts
// that are not served are dropped. Softmax and selection then run over the served experts it knows. Immutable; used on the engine thread.
class MaskedRouter final : public Router {
 public:
  // place [experts of `router`]: index among `experts` served ones, -1: not served. At least one is.
  MaskedRouter(std::shared_ptr<const Router> router, const std::vector<int32_t>& place, int32_t experts)
      : router_(std::move(router)), experts_(experts) {
    rule_ = router_->rule();
    for (size_t from = 0; from < place.size(); ++from) {
      if (place[from] < 0) continue;
      from_.push_back(static_cast<int64_t>(from));
      to_.push_back(place[from]);
    }
    // A row's slots are counted by the snapshot's experts.
    rule_.top_k = std::min<int32_t>(rule_.top_k, static_cast<int32_t>(to_.size()));
    for (int32_t l = 0; l < router_->num_layers(); ++l) {
      selection_bias_.push_back(Placed(router_->SelectionBias(l)));
      selection_floor_.push_back(Placed(router_->SelectionFloor(l)));
    }
  }

  at::Tensor Logits(int32_t layer, const RouterInput& in) const override {
    const at::Tensor known = router_->Logits(layer, in);
    const int64_t rows = known.size(0), width = known.size(1);
    at::Tensor all = at::full({rows, experts_}, -std::numeric_limits<float>::infinity(), at::kFloat);
    const float* from = known.const_data_ptr<float>();
    float* to = all.mutable_data_ptr<float>();
    for (int64_t row = 0; row < rows; ++row, from += width, to += experts_) {
      for (size_t i = 0; i < to_.size(); ++i) to[to_[i]] = from[from_[i]];
      // A NaN is an error wherever the router says it: selection looks at the served ones only.
      for (int64_t i = 0; i < width; ++i) {
        if (std::isnan(from[i])) to[to_.front()] = from[i];
      }
    }
    return all;
  }
  std::span<const float> SelectionBias(int32_t layer) const override { return selection_bias_[layer]; }
  std::span<const float> SelectionFloor(int32_t layer) const override { return selection_floor_[layer]; }
  int64_t vocabulary() const override { return router_->vocabulary(); }
  int32_t num_experts() const override { return experts_; }
  int32_t num_layers() const override { return router_->num_layers(); }
  int64_t bytes() const override { return router_->bytes(); }

 private:
  // One value an expert of the router, empty for none, to where the snapshot has them; those it does not know cannot be chosen anyway.
  std::vector<float> Placed(std::span<const float> known) const {
    std::vector<float> placed;
    if (known.empty()) return placed;
    placed.resize(experts_);
    for (size_t i = 0; i < to_.size(); ++i) placed[to_[i]] = known[from_[i]];
    return placed;
  }

  const std::shared_ptr<const Router> router_;
  const int32_t experts_;
  std::vector<std::vector<float>> selection_bias_, selection_floor_;  // [L] of [experts], or empty ones
  std::vector<int64_t> from_, to_;                                    // logit from_[i] goes to to_[i]
};

}  // namespace switchyard
