// Do experts belong to tasks?
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace switchyard {

// Counts of expert e on task q, [E, Q] row-major.
struct TaskCounts {
  int32_t num_experts = 0;
  int32_t num_tasks = 0;
  std::vector<double> counts;
  double at(int32_t expert, int32_t task) const { return counts[static_cast<size_t>(expert) * num_tasks + task]; }
};

// The same with every task's counts divided by the task's total: otherwise a big task looks like a speciality.
TaskCounts Balanced(const TaskCounts& counts);

struct Specialisation {
  std::vector<std::optional<double>> per_expert;  // [E] 1 - H(task given e) / ln Q; absent for an expert without counts, and for Q = 1
  std::optional<double> mean;                     // over the experts that have one
  std::optional<double> mutual_information;       // I(expert; task), nats; biased upwards by about (E - 1)(Q - 1) / (2 T)
  std::optional<double> explained;                // I / H(task): absent when H(task) is 0
  std::optional<double> normalised;               // I / sqrt(H(expert) H(task)): absent when either is 0
};
// All absent without counts.
Specialisation ComputeSpecialisation(const TaskCounts& counts);

// P(expert given task) / P(expert), [E, Q]; absent where it is 0 / 0.
std::vector<std::optional<double>> Lift(const TaskCounts& counts);

}  // namespace switchyard
