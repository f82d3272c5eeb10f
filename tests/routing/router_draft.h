// A router artifact on disk, for tests of what is read from it.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/artifact/router_artifact.h"

namespace switchyard {

inline constexpr int32_t kLayers = 2, kHidden = 37, kExperts = 5;

// A router artifact on disk under construction: tensors by name, a manifest.
struct Draft {
  RouterManifest manifest;
  std::map<std::string, at::Tensor> tensors;

  Draft(const std::string& kind, int32_t top_k) {
    manifest.name = "router under test";
    manifest.kind = kind;
    manifest.top_k = top_k;
    manifest.weight_mode = "renorm";
    manifest.base_generation = "base";
    manifest.num_layers = kLayers;
    manifest.hidden_size = kHidden;
    for (int e = 0; e < kExperts; ++e) manifest.experts.push_back({absl::StrFormat("e%d", e), absl::StrFormat("hash%d", e), false});
  }

  at::Tensor& operator[](const std::string& name) { return tensors[name]; }

  RouterArtifact Publish() const {
    static int count = 0;
    const std::string directory = absl::StrFormat("%s/router_test_%d_%d", testing::TempDir(), getpid(), count++);
    std::vector<TensorView> views;
    for (const auto& [name, tensor] : tensors) {
      const DType dtype = tensor.scalar_type() == at::kBFloat16 ? DType::kBF16
                          : tensor.scalar_type() == at::kInt    ? DType::kI32
                                                                : DType::kF32;
      views.push_back(
          {name, dtype, tensor.sizes().vec(), {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()}, nullptr});
    }
    const Status written = WriteRouterArtifact(directory, manifest, views);
    EXPECT_TRUE(written.ok()) << written;
    const auto artifact = ReadRouterArtifact(directory);
    EXPECT_TRUE(artifact.ok()) << artifact.status();
    std::filesystem::remove_all(directory);  // the mapping stays
    return *artifact;
  }
};

}  // namespace switchyard
