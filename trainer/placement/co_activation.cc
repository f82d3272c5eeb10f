#include "trainer/placement/co_activation.h"

namespace switchyard::trainer {

CoActivation CountCoActivation(const RouteRecord& record, size_t layer) {
  CoActivation counted{record.num_experts, std::vector<double>(static_cast<size_t>(record.num_experts) * record.num_experts)};
  const std::vector<int16_t>& slots = record.layers[layer].experts;
  for (int64_t row = 0; row < record.rows(); ++row) {
    const int16_t* own = slots.data() + row * record.k;
    for (int32_t a = 0; a < record.k; ++a) {
      for (int32_t b = 0; b < record.k && own[a] != LayerTrace::kUnused; ++b) {
        if (own[b] != LayerTrace::kUnused) counted.tokens[static_cast<size_t>(own[a]) * record.num_experts + own[b]] += 1;
      }
    }
  }
  return counted;
}

}  // namespace switchyard::trainer
