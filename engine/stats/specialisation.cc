#include "engine/stats/specialisation.h"

#include <cmath>

#include "engine/stats/over_layers.h"
#include "engine/stats/routing_entropy.h"

namespace switchyard {
namespace {

struct Margins {
  std::vector<double> experts;  // [E]
  std::vector<double> tasks;    // [Q]
  double total = 0;
};

Margins MarginsOf(const TaskCounts& counts) {
  Margins margins{.experts = std::vector<double>(counts.num_experts, 0.0), .tasks = std::vector<double>(counts.num_tasks, 0.0), .total = 0};
  for (int32_t e = 0; e < counts.num_experts; ++e) {
    for (int32_t q = 0; q < counts.num_tasks; ++q) {
      margins.experts[e] += counts.at(e, q);
      margins.tasks[q] += counts.at(e, q);
      margins.total += counts.at(e, q);
    }
  }
  return margins;
}

double EntropyOfCounts(std::span<const double> counts, double total) {
  std::vector<double> shares;
  for (const double c : counts) shares.push_back(c / total);
  return EntropyOf(shares);
}

}  // namespace

TaskCounts Balanced(const TaskCounts& counts) {
  const Margins margins = MarginsOf(counts);
  TaskCounts balanced = counts;
  for (size_t i = 0; i < balanced.counts.size(); ++i) {
    const double total = margins.tasks[i % counts.num_tasks];
    if (total > 0) balanced.counts[i] /= total;
  }
  return balanced;
}

Specialisation ComputeSpecialisation(const TaskCounts& counts) {
  Specialisation result;
  result.per_expert.resize(counts.num_experts);
  const Margins margins = MarginsOf(counts);
  if (margins.total <= 0) return result;
  for (int32_t e = 0; e < counts.num_experts; ++e) {
    if (margins.experts[e] <= 0 || counts.num_tasks < 2) continue;
    const auto row = std::span(counts.counts).subspan(static_cast<size_t>(e) * counts.num_tasks, counts.num_tasks);
    result.per_expert[e] = 1 - EntropyOfCounts(row, margins.experts[e]) / std::log(static_cast<double>(counts.num_tasks));
  }
  result.mean = MeanOverLayers(result.per_expert);

  const double expert_entropy = EntropyOfCounts(margins.experts, margins.total);
  const double task_entropy = EntropyOfCounts(margins.tasks, margins.total);
  result.mutual_information = expert_entropy + task_entropy - EntropyOfCounts(counts.counts, margins.total);
  if (task_entropy > 0) result.explained = *result.mutual_information / task_entropy;
  if (task_entropy > 0 && expert_entropy > 0) result.normalised = *result.mutual_information / std::sqrt(expert_entropy * task_entropy);
  return result;
}

std::vector<std::optional<double>> Lift(const TaskCounts& counts) {
  const Margins margins = MarginsOf(counts);
  std::vector<std::optional<double>> lift(counts.counts.size());
  for (int32_t e = 0; e < counts.num_experts; ++e) {
    for (int32_t q = 0; q < counts.num_tasks; ++q) {
      if (margins.tasks[q] <= 0 || margins.experts[e] <= 0) continue;
      const double given_task = counts.at(e, q) / margins.tasks[q];
      lift[static_cast<size_t>(e) * counts.num_tasks + q] = given_task / (margins.experts[e] / margins.total);
    }
  }
  return lift;
}

}  // namespace switchyard
