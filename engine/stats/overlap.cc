#include "engine/stats/overlap.h"

#include <algorithm>

namespace switchyard {
namespace {

int64_t IntersectionSize(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  int64_t common = 0;
  for (auto i = a.begin(), j = b.begin(); i != a.end() && j != b.end();) {
    if (*i < *j) {
      ++i;
    } else if (*j < *i) {
      ++j;
    } else {
      ++common;
      ++i;
      ++j;
    }
  }
  return common;
}

// Per expert what it saw: name(row) of every token that selected it.
template <typename Name>
Overlap OverlapBy(const LayerTrace& trace, Name name) {
  std::vector<std::vector<int32_t>> sets(trace.num_experts);
  for (int64_t row = 0; row < trace.rows(); ++row) {
    for (const int16_t expert : trace.chosen(row)) {
      if (expert != LayerTrace::kUnused) sets[expert].push_back(name(row));
    }
  }
  for (auto& set : sets) {
    std::sort(set.begin(), set.end());
    set.erase(std::unique(set.begin(), set.end()), set.end());
  }
  return MeanPairwiseOverlap(sets);
}

}  // namespace

Overlap MeanPairwiseOverlap(const std::vector<std::vector<int32_t>>& sets) {
  Overlap overlap;
  double sum = 0;
  for (size_t i = 0; i < sets.size(); ++i) {
    for (size_t j = i + 1; j < sets.size(); ++j) {
      if (sets[i].empty() && sets[j].empty()) continue;
      const int64_t common = IntersectionSize(sets[i], sets[j]);
      sum += static_cast<double>(common) / static_cast<double>(static_cast<int64_t>(sets[i].size() + sets[j].size()) - common);
      ++overlap.pairs;
    }
  }
  if (overlap.pairs > 0) overlap.mean = sum / static_cast<double>(overlap.pairs);
  return overlap;
}

Overlap PositionOverlap(const LayerTrace& trace) {
  return OverlapBy(trace, [](int64_t row) { return static_cast<int32_t>(row); });
}

std::optional<double> ChancePositionOverlap(int32_t num_experts, int32_t k) {
  if (num_experts < 2 || k < 1 || k > num_experts) return std::nullopt;
  return (k - 1.0) / (2.0 * (num_experts - 1) - (k - 1));
}

Overlap VocabularyOverlap(const LayerTrace& trace) {
  return OverlapBy(trace, [&](int64_t row) { return trace.tokens[row]; });
}

}  // namespace switchyard
