// Tensors of tests/golden/training/losses.safetensors (tests/golden/make_loss_goldens.py).
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "engine/artifact/safetensors.h"
#include "engine/tensor/compute.h"

namespace switchyard::trainer {

class LossGoldens {
 public:
  at::Tensor operator[](const std::string& name) const {
    const auto view = file_->Get(name);
    EXPECT_TRUE(view.ok()) << view.status();
    return *TensorFromView(*view, at::kFloat);
  }
  bool Has(const std::string& name) const { return file_->Get(name).ok(); }

 private:
  std::shared_ptr<const SafetensorsFile> file_ = *SafetensorsFile::Open("tests/golden/training/losses.safetensors");
};

inline void ExpectGolden(const at::Tensor& ours, const at::Tensor& golden, const std::string& what) {
  ASSERT_TRUE(ours.defined()) << what;
  ASSERT_GT(golden.abs().max().item<double>(), 0) << what;
  EXPECT_LT((ours - golden).abs().max().item<double>(), 1e-4 * golden.abs().max().item<double>()) << what;
}

}  // namespace switchyard::trainer
