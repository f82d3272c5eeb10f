// One artifact of random parameters for every kind the registry knows: what the property tests run over. A new kind is a row here.
#pragma once

#include "tests/routing/router_draft.h"

namespace switchyard {

// Experts e0 to e3 and, last, zero.
inline Draft WithZero(const std::string& kind) {
  Draft draft(kind, 2);
  draft.manifest.experts.back() = {"zero", "zero", true};
  draft.manifest.separable = true;
  for (int l = 0; l < kLayers; ++l) draft[absl::StrFormat("layers.%d.router.zero_score", l)] = at::full({1}, .6f);
  return draft;
}

// Ranks 1, 2, 3, 4 (or `rank` each), rows orthonormal.
inline Draft DirectionsDraft(const std::string& kind, int rank = 0) {
  Draft draft = WithZero(kind);
  for (int l = 0; l < kLayers; ++l) {
    for (int e = 0; e + 1 < kExperts; ++e) {
      const at::Tensor q = std::get<0>(at::linalg_qr(at::randn({kHidden, rank > 0 ? rank : e + 1})));
      draft[absl::StrFormat("layers.%d.router.directions.%d", l, e)] = q.t().contiguous();
    }
  }
  return draft;
}

inline Draft PhatgooseDraft() {
  Draft draft = WithZero("phatgoose");
  for (int l = 0; l < kLayers; ++l) {
    for (int e = 0; e + 1 < kExperts; ++e) draft[absl::StrFormat("layers.%d.router.gate.%d", l, e)] = at::randn({kHidden}) + .5;
  }
  return draft;
}

// Expert e has e + 1 components.
inline Draft GmmDraft() {
  Draft draft = WithZero("gmm");
  for (int l = 0; l < kLayers; ++l) {
    const std::string prefix = absl::StrFormat("layers.%d.router.", l);
    draft[prefix + "center"] = at::randn({kHidden});
    draft[prefix + "projection"] = std::get<0>(at::linalg_qr(at::randn({kHidden, 6}))).t().contiguous();
    draft[prefix + "zero_score"] = at::full({1}, -11.f);
    for (int e = 0; e + 1 < kExperts; ++e) {
      draft[absl::StrFormat("%slog_weight.%d", prefix, e)] = at::log_softmax(at::randn({e + 1}), 0);
      draft[absl::StrFormat("%smean.%d", prefix, e)] = at::randn({e + 1, 6});
      draft[absl::StrFormat("%sprecision.%d", prefix, e)] = at::rand({e + 1, 6}) + .1;
    }
  }
  return draft;
}

inline constexpr int32_t kVocabulary = 50;

inline Draft HashDraft() {
  Draft draft("hash", 1);
  for (int l = 0; l < kLayers; ++l) draft[absl::StrFormat("layers.%d.router.table", l)] = at::randint(kExperts, {kVocabulary}, at::kInt);
  return draft;
}

// Thresholds that the best expert always reaches.
inline Draft ExpertChoiceDraft() {
  Draft draft("expert_choice", 2);
  draft.manifest.weight_mode = "raw";
  for (int l = 0; l < kLayers; ++l) {
    draft[absl::StrFormat("layers.%d.router.weight", l)] = at::randn({kExperts, kHidden}) * .2;
    draft[absl::StrFormat("layers.%d.router.threshold", l)] = at::full({kExperts}, .15f);
  }
  return draft;
}

inline Draft StableMoeDraft() {
  Draft draft = HashDraft();
  draft.manifest.kind = "stablemoe";
  draft.manifest.weight_mode = "sigmoid";
  for (int l = 0; l < kLayers; ++l) draft[absl::StrFormat("layers.%d.router.weight", l)] = at::randn({kExperts, kHidden}) * .3;
  return draft;
}

inline Draft LprDraft() {
  Draft draft("lpr", 2);
  for (int l = 0; l < kLayers; ++l) {
    const std::string prefix = absl::StrFormat("layers.%d.router.", l);
    draft[prefix + "norm.weight"] = 1 + at::randn({kHidden}) * .3;
    draft[prefix + "norm.bias"] = at::randn({kHidden}) * .3;
    for (const std::string part : {"mean", "log_variance"}) {
      draft[prefix + part + ".weight"] = at::randn({6, kHidden}) * .3;
      draft[prefix + part + ".bias"] = at::randn({6});
    }
    draft[prefix + "keys"] = at::randn({kExperts, 6});
  }
  return draft;
}

inline Draft DraftOf(const std::string& kind) {
  if (kind == "lpr") return LprDraft();
  if (kind == "stablemoe") return StableMoeDraft();
  if (kind == "expert_choice") return ExpertChoiceDraft();
  if (kind == "hash") return HashDraft();
  if (kind == "gmm") return GmmDraft();
  if (kind == "phatgoose") return PhatgooseDraft();
  if (kind == "arrow") return DirectionsDraft(kind, 1);
  if (kind == "aoe" || kind == "ermoe") return DirectionsDraft(kind);
  Draft draft(kind == "linear_loss_free" ? "linear" : kind, 2);
  for (int l = 0; l < kLayers; ++l) {
    const std::string prefix = absl::StrFormat("layers.%d.router.", l);
    if (kind == "linear_loss_free") draft[prefix + "selection_bias"] = at::randn({kExperts}) * .2;
    if (draft.manifest.kind == "linear") {
      draft[prefix + "weight"] = at::randn({kExperts, kHidden});
      continue;
    }
    draft[prefix + "fc1.weight"] = at::randn({19, kHidden}) * .3;
    draft[prefix + "fc1.bias"] = at::randn({19});
    draft[prefix + "fc2.weight"] = at::randn({kExperts, 19});
    draft[prefix + "fc2.bias"] = at::randn({kExperts});
  }
  return draft;
}

}  // namespace switchyard
