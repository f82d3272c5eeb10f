#include "server/route_window.h"

#include <algorithm>
#include <utility>

namespace switchyard {
namespace {

template <typename T>
void Subtract(const std::vector<T>& before, std::vector<T>* from) {
  for (size_t i = 0; i < from->size(); ++i) (*from)[i] -= before[i];
}

// A snapshot that was forgotten and came back starts again at 0.
bool IsBefore(const RouterSums& before, const RouterSums& now) {
  if (before.generation != now.generation || before.rows.size() != now.rows.size() || before.tokens.size() != now.tokens.size())
    return false;
  return std::equal(before.rows.begin(), before.rows.end(), now.rows.begin(), [](uint64_t a, uint64_t b) { return a <= b; });
}

}  // namespace

void RouteWindow::Note(Clock::Time now, std::vector<RouterSums> sums) {
  std::lock_guard lock(mutex_);
  entries_.push_back({now, std::move(sums)});
  while (entries_.size() > 1 && entries_[1].time <= now - kLength) entries_.pop_front();
}

RouterSums RouteWindow::Growth(Clock::Time now, RouterSums sums) const {
  std::lock_guard lock(mutex_);
  const Entry* base = nullptr;
  for (const Entry& entry : entries_) {
    if (entry.time <= now - kLength) base = &entry;
  }
  if (base == nullptr) return sums;
  const auto before = std::find_if(base->sums.begin(), base->sums.end(), [&](const RouterSums& s) { return IsBefore(s, sums); });
  if (before == base->sums.end()) return sums;
  Subtract(before->tokens, &sums.tokens);
  Subtract(before->weight, &sums.weight);
  Subtract(before->entropy_sum, &sums.entropy_sum);
  Subtract(before->rows, &sums.rows);
  Subtract(before->pairs, &sums.pairs);
  Subtract(before->flips, &sums.flips);
  return sums;
}

}  // namespace switchyard
