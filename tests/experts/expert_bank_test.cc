#include "engine/experts/expert_bank.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TensorView View(const std::string& name, const at::Tensor& tensor) {
  const DType dtype = tensor.scalar_type() == at::kBFloat16 ? DType::kBF16 : DType::kF32;
  return {name,
          dtype,
          tensor.sizes().vec(),
          {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()},
          std::make_shared<at::Tensor>(tensor)};
}

LoraPair Pair(const at::Tensor& a, const at::Tensor& b, double scale) {
  return {View("some.lora_A.weight", a), View("some.lora_B.weight", b), static_cast<int32_t>(a.size(0)), scale};
}

// Two layers of 7 -> 11 -> 7: gate of rank 2 in the first, up of rank 3 and down of rank 5 in the second.
PeftAdapter Adapter() {
  at::manual_seed(3);
  PeftAdapter adapter;
  adapter.directory = "adapters/law";
  adapter.generation = "abc";
  adapter.layers.resize(2);
  adapter.layers[0].gate = Pair(at::randn({2, 7}), at::randn({11, 2}), 0.5);
  adapter.layers[1].up = Pair(at::randn({3, 7}).to(at::kBFloat16), at::randn({11, 3}).to(at::kBFloat16), 2);
  adapter.layers[1].down = Pair(at::randn({5, 11}), at::randn({7, 5}), 1);
  return adapter;
}

at::Tensor AsTensor(const TensorView& view) { return TensorFromView(view, at::kFloat).value(); }

class ExpertBankTest : public ::testing::Test {
 protected:
  kernels::ThreadPool pool_{1};
  Compute reference_{Backend::kReference, at::kFloat, nullptr};
  Compute fast_{Backend::kFast, at::kFloat, &pool_};
};

TEST_F(ExpertBankTest, KeepsWhatTheAdapterHas) {
  const PeftAdapter adapter = Adapter();
  for (const Compute* compute : {&reference_, &fast_}) {
    const auto expert = LoadExpert(adapter, *compute);
    ASSERT_TRUE(expert.ok()) << expert.status();
    EXPECT_EQ((*expert)->generation, "abc");
    EXPECT_FALSE((*expert)->is_zero);
    EXPECT_EQ((*expert)->max_rank, 5);
    ASSERT_EQ((*expert)->layers.size(), 2u);
    EXPECT_TRUE((*expert)->layers[0].gate && !(*expert)->layers[0].up && !(*expert)->layers[0].down);
    EXPECT_TRUE(!(*expert)->layers[1].gate && (*expert)->layers[1].up && (*expert)->layers[1].down);
    EXPECT_EQ((*expert)->layers[1].up->rank(), 3);
    EXPECT_EQ((*expert)->layers[1].up->scale(), 2);
    EXPECT_GE((*expert)->bytes, 4 * (2 * 18 + 3 * 18 + 5 * 18));
  }
}

TEST_F(ExpertBankTest, DeltaIsScaleTimesBTimesA) {
  const PeftAdapter adapter = Adapter();
  const at::Tensor x = at::randn({4, 7});
  const LoraPair& pair = *adapter.layers[1].up;
  const at::Tensor want = at::matmul(at::matmul(x, AsTensor(pair.a).t()), AsTensor(pair.b).t()) * 2;

  const auto reference = LoadExpert(adapter, reference_);
  ASSERT_TRUE(reference.ok());
  EXPECT_TRUE(at::allclose((*reference)->layers[1].up->Delta(x), want, 1e-5, 1e-5));

  const auto fast = LoadExpert(adapter, fast_);
  ASSERT_TRUE(fast.ok());
  const ExpertLora& lora = *(*fast)->layers[1].up;
  at::Tensor z = at::empty({4, 3}), y = at::ones({4, 11});
  lora.Shrink(pool_, x.const_data_ptr<float>(), 4, 7, z.mutable_data_ptr<float>());
  z.mul_(2);
  lora.Expand(pool_, z.const_data_ptr<float>(), 4, y.mutable_data_ptr<float>(), 11, /*accumulate=*/true);
  EXPECT_TRUE(at::allclose(y, want + 1, 1e-5, 1e-5));
  lora.Expand(pool_, z.const_data_ptr<float>(), 4, y.mutable_data_ptr<float>(), 11, /*accumulate=*/false);
  EXPECT_TRUE(at::allclose(y, want, 1e-5, 1e-5));
}

TEST_F(ExpertBankTest, PairsThatDoNotFitTogetherAreRefused) {
  PeftAdapter adapter = Adapter();
  adapter.layers[1].down = Pair(at::randn({5, 11}), at::randn({7, 4}), 1);
  const Status status = LoadExpert(adapter, fast_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(status)), AllOf(HasSubstr("adapters/law"), HasSubstr("[5, 11]"), HasSubstr("[7, 4]")));
  adapter.layers[1].down = Pair(at::randn({5, 11}), at::randn({7, 5}), std::numeric_limits<double>::infinity());
  EXPECT_EQ(LoadExpert(adapter, fast_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ExpertBankTest, BrokenNumbersAreDataLoss) {
  PeftAdapter adapter = Adapter();
  at::Tensor b = at::randn({11, 2});
  b[3][1] = std::numeric_limits<float>::quiet_NaN();
  adapter.layers[0].gate = Pair(at::randn({2, 7}), b, 1);
  const Status status = LoadExpert(adapter, reference_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(status)), AllOf(HasSubstr("adapters/law"), HasSubstr("some.lora_B.weight")));
}

TEST_F(ExpertBankTest, ZeroExpertIsEmptyInEveryLayer) {
  const auto zero = ZeroExpert(3);
  EXPECT_TRUE(zero->is_zero);
  EXPECT_EQ(zero->generation, "zero");
  EXPECT_EQ(zero->bytes, 0);
  ASSERT_EQ(zero->layers.size(), 3u);
  for (const ExpertLayer& layer : zero->layers) EXPECT_TRUE(layer.empty());
}

}  // namespace
}  // namespace switchyard
