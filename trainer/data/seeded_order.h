// Orders drawn from a seed, the same on every machine and compiler.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace switchyard::trainer {

// 0 .. size - 1, shuffled (Fisher-Yates over SplitMix64, every order equally likely as far as 64 bits go).
std::vector<int64_t> SeededOrder(int64_t size, uint64_t seed, std::string_view stream);

}  // namespace switchyard::trainer
