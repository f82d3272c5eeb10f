#include "trainer/data/seeded_order.h"

#include <numeric>
#include <utility>

#include "engine/artifact/seeded.h"

namespace switchyard::trainer {
namespace {

// 0 .. bound - 1, each equally likely: draws above the last whole multiple of the bound are thrown away.
uint64_t Below(uint64_t bound, SeededRandom* random) {
  const uint64_t first_unfair = UINT64_MAX - UINT64_MAX % bound;
  for (;;) {
    const uint64_t draw = random->Next();
    if (draw < first_unfair) return draw % bound;
  }
}

}  // namespace

std::vector<int64_t> SeededOrder(int64_t size, uint64_t seed, std::string_view stream) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  SeededRandom random(seed, stream);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[Below(i, &random)]);
  return order;
}

}  // namespace switchyard::trainer
