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

std::optional<double> HalfWidth(const EvalCell& cell) {
  const std::optional<Interval> interval = WilsonInterval95(cell.correct, cell.n);
  if (!interval.has_value()) return std::nullopt;
  return (interval->high - interval->low) / 2;
}

std::optional<EvalMean> Mean(const std::vector<EvalCell>& cells) {
  if (cells.empty()) return std::nullopt;
  EvalMean mean;
  double variance = 0;
  for (const EvalCell& cell : cells) {
    if (cell.n == 0) return std::nullopt;
    const double p = cell.accuracy();
    mean.accuracy += p;
    variance += p * (1 - p) / static_cast<double>(cell.n);
  }
  const auto count = static_cast<double>(cells.size());
  mean.accuracy /= count;
  mean.half_width = kZ95 * std::sqrt(variance) / count;
  return mean;
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
