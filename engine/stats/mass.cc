#include "engine/stats/mass.h"

namespace switchyard {

std::vector<double> MassShare(const LayerTrace& trace) {
  std::vector<double> mass(trace.num_experts, 0.0);
  double sum = 0;
  for (size_t i = 0; i < trace.experts.size(); ++i) {
    if (trace.experts[i] == LayerTrace::kUnused) continue;
    mass[trace.experts[i]] += trace.weights[i];
    sum += trace.weights[i];
  }
  if (sum <= 0) return {};
  for (double& m : mass) m /= sum;
  return mass;
}

std::optional<double> BaseMass(const LayerTrace& trace, int16_t zero_expert) {
  if (trace.rows() == 0) return std::nullopt;
  double given = 0;
  for (size_t i = 0; i < trace.experts.size(); ++i) {
    if (trace.experts[i] != LayerTrace::kUnused && trace.experts[i] != zero_expert) given += trace.weights[i];
  }
  return 1 - given / static_cast<double>(trace.rows());
}

}  // namespace switchyard
