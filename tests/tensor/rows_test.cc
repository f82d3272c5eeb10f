#include "engine/tensor/rows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

namespace switchyard {
namespace {

TEST(GatherRowsTest, CopiesRowsInTheOrderAsked) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::arange(12, at::kFloat).view({4, 3}).to(dtype);
    const at::Tensor rows = GatherRows(x, std::vector<int32_t>{3, 0, 3});
    EXPECT_TRUE(at::equal(rows.to(at::kFloat), at::tensor({9.0f, 10.0f, 11.0f, 0.0f, 1.0f, 2.0f, 9.0f, 10.0f, 11.0f}).view({3, 3})));
    EXPECT_EQ(rows.scalar_type(), dtype);
  }
}

TEST(GatherRowsTest, NoRowsGiveAnEmptyMatrix) { EXPECT_EQ(GatherRows(at::zeros({4, 3}), {}).sizes(), at::IntArrayRef({0, 3})); }

}  // namespace
}  // namespace switchyard
