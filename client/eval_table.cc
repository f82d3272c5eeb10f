#include "client/eval_table.h"

#include <algorithm>
#include <cmath>

#include "engine/stats/interval.h"

namespace switchyard::client {
namespace {

constexpr double kZ95 = 1.959963984540054;

// P(at most `k` heads, or as far on the other side) for n tosses of a fair coin.
double TwoSidedBinomial(int64_t k, int64_t n) {
  double tail = 0;
  const auto total = static_cast<double>(n);
  for (int64_t i = 0; i <= k; ++i) {
    const auto heads = static_cast<double>(i);
    tail += std::exp(std::lgamma(total + 1) - std::lgamma(heads + 1) - std::lgamma(total - heads + 1) - total * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

}  // namespace

EvalCell Cell(const EvalAnswers& answers, size_t row, size_t set, int judge) {
  EvalCell cell;
  for (auto it = answers.lower_bound({row, set, 0}); it != answers.end() && it->first < EvalKey{row, set + 1, 0}; ++it) {
    const std::optional<bool>& right = it->second.verdict[judge];
    if (!right.has_value()) continue;
    ++cell.n;
    cell.correct += *right ? 1 : 0;
  }
  return cell;
}

std::optional<double> HalfWidth(const EvalCell& cell) { return HalfWidth95({cell.correct, cell.n}); }

std::optional<EvalMean> Mean(const std::vector<EvalCell>& cells) {
  std::vector<Proportion> proportions;
  for (const EvalCell& cell : cells) proportions.push_back({cell.correct, cell.n});
  const auto mean = MeanOfProportions(proportions);
  if (!mean.has_value()) return std::nullopt;
  return EvalMean{.accuracy = mean->mean, .half_width = mean->half_width.value_or(0)};
}

EvalPaired Compare(const EvalAnswers& answers, size_t first, size_t second, std::optional<size_t> set, int judge) {
  EvalPaired paired;
  for (const auto& [key, answer] : answers) {
    const auto [row, key_set, question] = key;
    if (row != first || (set.has_value() && key_set != *set)) continue;
    const auto other = answers.find({second, key_set, question});
    if (other == answers.end() || !answer.verdict[judge] || !other->second.verdict[judge]) continue;
    ++paired.n;
    const bool a = *answer.verdict[judge], b = *other->second.verdict[judge];
    paired.only_first += a && !b ? 1 : 0;
    paired.only_second += b && !a ? 1 : 0;
  }
  if (paired.n == 0) return paired;
  const auto n = static_cast<double>(paired.n);
  const auto apart = static_cast<double>(paired.only_first + paired.only_second);
  const auto net = static_cast<double>(paired.only_first - paired.only_second);
  paired.difference = net / n;
  paired.half_width = kZ95 * std::sqrt(std::max(0.0, apart - net * net / n)) / n;
  paired.p = TwoSidedBinomial(std::min(paired.only_first, paired.only_second), paired.only_first + paired.only_second);
  return paired;
}

}  // namespace switchyard::client
