#include "engine/tensor/compute.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace switchyard {
namespace {

using ::testing::HasSubstr;

template <typename T>
TensorView View(const std::string& name, DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  return TensorView{name, dtype, std::move(shape), std::as_bytes(std::span<const T>(values)), nullptr};
}

TEST(TensorFromViewTest, CopiesValuesAndShape) {
  std::vector<float> values = {1, -2, 3, 4.5f, 5, 6};
  const auto tensor = TensorFromView(View("w", DType::kF32, {2, 3}, values), at::kFloat);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  values[0] = 99;  // a copy: the file may be unmapped afterwards
  EXPECT_TRUE(at::equal(*tensor, at::tensor({1.0f, -2.0f, 3.0f, 4.5f, 5.0f, 6.0f}).view({2, 3})));
}

TEST(TensorFromViewTest, ReadsMisalignedBytes) {
  const std::vector<float> values = {0.25f, -8.0f};
  std::vector<std::byte> bytes(1 + sizeof(float) * values.size());
  std::memcpy(bytes.data() + 1, values.data(), sizeof(float) * values.size());
  const TensorView view{"w", DType::kF32, {2}, std::span<const std::byte>(bytes).subspan(1), nullptr};
  const auto tensor = TensorFromView(view, at::kFloat);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_TRUE(at::equal(*tensor, at::tensor({0.25f, -8.0f})));
}

TEST(TensorFromViewTest, ConvertsBetweenFloatingTypes) {
  const std::vector<uint16_t> bf16 = {0x3f80, 0xc000};  // 1, -2
  const auto wide = TensorFromView(View("w", DType::kBF16, {2}, bf16), at::kFloat);
  ASSERT_TRUE(wide.ok()) << wide.status();
  EXPECT_TRUE(at::equal(*wide, at::tensor({1.0f, -2.0f})));
  const std::vector<float> f32 = {1.0f, 1.00390625f};
  const auto narrow = TensorFromView(View("w", DType::kF32, {2}, f32), at::kBFloat16);
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  EXPECT_EQ(narrow->scalar_type(), at::kBFloat16);
  EXPECT_EQ((*narrow)[1].item<float>(), 1.0f);  // a tie, to even
}

TEST(TensorFromViewTest, AcceptsEmptyTensors) {
  const auto tensor = TensorFromView(View("w", DType::kF32, {0, 4}, std::vector<float>{}), at::kFloat);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->size(1), 4);
}

TEST(TensorFromViewTest, RefusesNanAndInfinityByNameAndIndex) {
  std::vector<float> values(10000, 1.0f);
  values[9001] = std::numeric_limits<float>::quiet_NaN();
  const auto nan = TensorFromView(View("model.norm.weight", DType::kF32, {10000}, values), at::kFloat);
  EXPECT_EQ(nan.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(nan.status())), HasSubstr("model.norm.weight: element 9001"));
  for (const auto& [dtype, bits] : {std::pair{DType::kBF16, uint16_t{0xff80}}, std::pair{DType::kF16, uint16_t{0x7c00}}}) {
    const std::vector<uint16_t> infinity = {0, bits};
    EXPECT_EQ(TensorFromView(View("w", dtype, {2}, infinity), at::kFloat).status().code(), absl::StatusCode::kDataLoss);
  }
  const std::vector<double> doubles = {-std::numeric_limits<double>::infinity()};
  EXPECT_EQ(TensorFromView(View("w", DType::kF64, {1}, doubles), at::kFloat).status().code(), absl::StatusCode::kDataLoss);
}

TEST(TensorFromViewTest, RefusesValuesTheTargetTypeCannotHold) {
  const std::vector<double> huge = {1e300};
  const auto tensor = TensorFromView(View("w", DType::kF64, {1}, huge), at::kFloat);
  EXPECT_EQ(tensor.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(tensor.status())), HasSubstr("does not fit"));
}

TEST(TensorFromViewTest, RefusesShapeAndBytesThatDisagree) {
  const std::vector<float> values = {1, 2, 3};
  const auto tensor = TensorFromView(View("w", DType::kF32, {2, 2}, values), at::kFloat);
  EXPECT_EQ(tensor.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(tensor.status())), HasSubstr("needs 16 bytes, the file gives 12"));
}

}  // namespace
}  // namespace switchyard
