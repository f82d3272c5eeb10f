#include "engine/stats/consistency.h"

#include <algorithm>
#include <span>

namespace switchyard {
namespace {

using Chosen = std::span<const int16_t>;

int16_t Best(Chosen chosen) { return chosen.empty() ? LayerTrace::kUnused : chosen.front(); }

int64_t Used(Chosen chosen) { return static_cast<int64_t>(chosen.size()) - std::count(chosen.begin(), chosen.end(), LayerTrace::kUnused); }

// Nothing when both are empty.
std::optional<double> Jaccard(Chosen a, Chosen b) {
  int64_t common = 0;
  for (const int16_t expert : a) common += expert != LayerTrace::kUnused && std::find(b.begin(), b.end(), expert) != b.end();
  const int64_t all = Used(a) + Used(b) - common;
  if (all == 0) return std::nullopt;
  return static_cast<double>(common) / static_cast<double>(all);
}

// A mean that is absent when nothing was added.
class Mean {
 public:
  void Add(double value) {
    sum_ += value;
    ++count_;
  }
  std::optional<double> value() const {
    if (count_ == 0) return std::nullopt;
    return sum_ / static_cast<double>(count_);
  }

 private:
  double sum_ = 0;
  int64_t count_ = 0;
};

}  // namespace

std::optional<double> SequentialConsistency(const LayerTrace& trace) {
  Mean same;
  for (int64_t row = 0; row + 1 < trace.rows(); ++row) {
    const int16_t best = Best(trace.chosen(row));
    const int16_t next = Best(trace.chosen(row + 1));
    if (!trace.SameSequence(row, row + 1) || (best == LayerTrace::kUnused && next == LayerTrace::kUnused)) continue;
    same.Add(best == next ? 1 : 0);
  }
  return same.value();
}

std::optional<double> ChanceConsistency(std::span<const double> shares) {
  if (shares.empty()) return std::nullopt;
  double sum = 0;
  for (const double share : shares) sum += share * share;
  return sum;
}

std::optional<double> TopKOverlap(const LayerTrace& trace) {
  Mean overlap;
  for (int64_t row = 0; row + 1 < trace.rows(); ++row) {
    if (!trace.SameSequence(row, row + 1)) continue;
    if (const auto jaccard = Jaccard(trace.chosen(row), trace.chosen(row + 1))) overlap.Add(*jaccard);
  }
  return overlap.value();
}

Agreement CompareRoutes(const LayerTrace& a, const LayerTrace& b) {
  if (a.rows() != b.rows()) return {};
  Mean same_set;
  Mean same_best;
  Mean jaccard;
  for (int64_t row = 0; row < a.rows(); ++row) {
    const auto overlap = Jaccard(a.chosen(row), b.chosen(row));
    same_set.Add(!overlap || *overlap == 1 ? 1 : 0);
    same_best.Add(Best(a.chosen(row)) == Best(b.chosen(row)) ? 1 : 0);
    if (overlap) jaccard.Add(*overlap);
  }
  return {.same_set = same_set.value(), .same_best = same_best.value(), .mean_jaccard = jaccard.value()};
}

}  // namespace switchyard
