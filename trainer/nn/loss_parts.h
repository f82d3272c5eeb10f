// The losses beside the answers' by name, so that a run's log shows each one by itself.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace switchyard::trainer {

enum LossPart : size_t {
  kBalanceLoss,
  kZLoss,
  kLabelLoss,
  kScoreVarianceLoss,
  kOrthogonalityLoss,
  kRomaLoss,
  kLatentDiversityLoss,
  kLatentKlLoss,
  kLatentAlignLoss,
  kNumLossParts
};
inline constexpr std::array<std::string_view, kNumLossParts> kLossNames = {
    "balance", "z", "label", "score_variance", "orthogonality", "roma", "latent_diversity", "latent_kl", "latent_align"};

// What each is worth, with its coefficient.
using LossParts = std::array<double, kNumLossParts>;

}  // namespace switchyard::trainer
