// How evenly one layer's tokens spread over its experts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/stats/layer_trace.h"

namespace switchyard {

// c_e: how many tokens selected expert e. [num_experts]
std::vector<double> CountSelections(const LayerTrace& trace);

// The same without one expert: metrics are published with the zero expert and over the others alone.
std::vector<double> WithoutExpert(std::span<const double> counts, size_t expert);

// Over E experts with mean count m; natural logarithms. All absent when nothing was counted or E is 0.
struct LoadFigures {
  std::vector<double> share;                       // c_e / sum; empty when absent
  std::optional<double> entropy;                   // [0, ln E]
  std::optional<double> normalised_entropy;        // entropy / ln E; absent for one expert
  std::optional<double> cv;                        // population standard deviation / m: [0, sqrt(E - 1)]
  std::optional<double> cv_sample;                 // with the sample's standard deviation; absent for one expert
  std::optional<double> gini;                      // [0, (E - 1) / E]
  std::optional<double> min_max;                   // min / max: 0 when an expert is idle
  std::optional<double> collapse;                  // part of the experts nobody selected; grows as the sample shrinks
  std::optional<double> utilisation;               // 1 - collapse
  std::optional<double> imbalance;                 // max / m = 1 + max_violation
  std::optional<double> max_violation;             // (max - m) / m
  std::optional<double> max_violation_absolute;    // max |c_e - m|, in tokens
  std::optional<double> max_violation_normalised;  // the same / m; differs from max_violation where the emptiest expert deviates most
  std::optional<double> max_share_deviation;       // max |share - 1 / E|
};

// REQUIRES: counts >= 0. Cost: O(E log E).
LoadFigures ComputeLoad(std::span<const double> counts);

// Part of the experts with fewer than `epsilon` times the mean count; 0 means none at all, as in LoadFigures::collapse. Absent as there.
std::optional<double> CollapseBelow(std::span<const double> counts, double epsilon);

// Mean over batches of `batch_rows` consecutive tokens of LoadFigures::max_violation; of the whole trace that figure is the global one. A
// last batch that is not full is left out unless it is the only one. Absent without selections and for batch_rows < 1.
std::optional<double> BatchMaxViolation(const LayerTrace& trace, int64_t batch_rows);

}  // namespace switchyard
