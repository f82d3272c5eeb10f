// Shared by the kernel tests: every instruction set this CPU has, and seeded random data.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/kernels/kernels.h"

namespace switchyard::kernels {

inline std::vector<Isa> AvailableIsas() {
  std::vector<Isa> isas;
  for (int i = 0; i <= static_cast<int>(BestIsa()); ++i) isas.push_back(static_cast<Isa>(i));
  return isas;
}

// Runs each test once per instruction set and puts the best one back.
class IsaTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    SetIsa(GetParam());
    ASSERT_EQ(CurrentIsa(), GetParam());
  }
  void TearDown() override { SetIsa(BestIsa()); }
};

inline std::string IsaTestName(const testing::TestParamInfo<Isa>& info) { return IsaName(info.param); }

#define INSTANTIATE_FOR_EVERY_ISA(suite) INSTANTIATE_TEST_SUITE_P(Isa, suite, testing::ValuesIn(AvailableIsas()), IsaTestName)

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  std::vector<float> Floats(int64_t n, float scale = 1.0f) {
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> values(static_cast<size_t>(n));
    for (float& v : values) v = normal(engine_);
    return values;
  }
  int64_t Between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }

 private:
  std::mt19937 engine_;
};

// Compares bits, so that NaN equals itself and -0 differs from 0.
inline bool SameBits(const float* a, const float* b, int64_t n) { return std::memcmp(a, b, static_cast<size_t>(n) * sizeof(float)) == 0; }

}  // namespace switchyard::kernels
