// A tiny base of an odd shape with two LoRA experts, zero, and a packed batch: what the tests of this room train.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/tiny_model.h"
#include "trainer/nn/model.h"

namespace switchyard::trainer {

inline testing::TinyModelSpec Shape(const std::string& architecture) {
  testing::TinyModelSpec spec;
  spec.model_type = architecture;
  spec.hidden = 40;
  spec.intermediate = 56;
  spec.layers = 3;
  spec.heads = 6;
  spec.kv_heads = 2;
  spec.head_dim = 12;
  spec.vocab = 71;
  return spec;
}

class World {
 public:
  World(const std::string& architecture, at::ScalarType dtype, bool trainable_experts)
      : directory_(std::filesystem::temp_directory_path() / ("trainer_nn_" + std::to_string(::getpid()) + architecture)), pool_(2) {
    std::filesystem::remove_all(directory_);
    const testing::TinyModelSpec spec = Shape(architecture);
    EXPECT_TRUE(testing::WriteTinyBase(directory_ / "base", spec).ok());
    compute_ = {dtype, &pool_};
    auto base = ReadBaseWeights(directory_ / "base", dtype == at::kFloat ? "f32" : "bf16", 128);
    EXPECT_TRUE(base.ok()) << base.status();
    base_ = *std::move(base);
    for (int i = 0; i < 2; ++i) {
      const std::string name = "expert" + std::to_string(i), path = directory_ / name;
      EXPECT_TRUE(testing::WriteTinyExpert(path, spec, 3 + i, 11 + i).ok());
      auto expert = ReadLoraExpert(compute_, name, path, base_.config, trainable_experts);
      EXPECT_TRUE(expert.ok()) << expert.status();
      experts_.push_back(*std::move(expert));
    }
    experts_.push_back(ZeroLoraExpert("zero", base_.config));
    std::filesystem::remove_all(directory_);
  }

  // Three sequences of different lengths, loss on some of their rows.
  PackedBatch Batch() const {
    PackedBatch batch;
    int32_t token = 5;
    for (const int32_t length : {9, 1 + 4, 13}) {
      const auto begin = static_cast<int32_t>(batch.tokens.size());
      for (int32_t i = 0; i < length; ++i) batch.tokens.push_back(token = (token * 31 + 7) % base_.config.vocab_size);
      batch.segments.push_back({begin, begin + length, 0});
      for (int32_t row = begin + length / 2; row + 1 < begin + length; ++row) {
        batch.rows.push_back(row);
        batch.targets.push_back(batch.tokens[row + 1]);
      }
    }
    return batch;
  }

  const TrainCompute& compute() const { return compute_; }
  const BaseWeights& base() const { return base_; }
  std::vector<LoraExpert>& experts() { return experts_; }

 private:
  std::filesystem::path directory_;
  kernels::ThreadPool pool_;
  TrainCompute compute_;
  BaseWeights base_;
  std::vector<LoraExpert> experts_;
};

// |a - b| / |b|
inline double RelativeError(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).norm().item<double>() / std::max(b.norm().item<double>(), 1e-12);
}

}  // namespace switchyard::trainer
