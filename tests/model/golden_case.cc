#include "tests/model/golden_case.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <span>
#include <utility>

#include "engine/artifact/router_artifact.h"
#include "engine/tensor/compute.h"

namespace switchyard::testing {

GoldenCase::GoldenCase(const std::string& name) : name_(name), directory_("tests/golden/model/" + name) {
  auto file = SafetensorsFile::Open(directory_ + "/golden.safetensors");
  EXPECT_TRUE(file.ok()) << file.status();
  if (!file.ok()) return;
  file_ = *std::move(file);
  meta_ = nlohmann::json::parse(file_->metadata().at("golden"));
  experts_ = meta_.value("experts", std::vector<std::string>{});
  mixture_experts_ = meta_.value("mixture_experts", std::vector<std::string>{});
}

at::Tensor GoldenTensor(const SafetensorsFile& file, const std::string& tensor) {
  const auto view = file.Get(tensor);
  EXPECT_TRUE(view.ok()) << view.status();
  const bool integer = view.ok() && view->dtype == DType::kI64;
  const auto values = TensorFromView(view.value(), integer ? at::kLong : at::kFloat);
  EXPECT_TRUE(values.ok()) << values.status();
  return values.value();
}

std::vector<TokenId> GoldenTokens(const SafetensorsFile& file, const std::string& tensor) {
  const at::Tensor ids = GoldenTensor(file, tensor);
  return {ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel()};
}

at::Tensor GoldenCase::Get(const std::string& tensor) const { return GoldenTensor(*file_, tensor); }

std::vector<TokenId> GoldenCase::Tokens(const std::string& tensor) const { return GoldenTokens(*file_, tensor); }

std::vector<TokenId> GoldenCase::Prompt(int index) const { return Tokens("prompt." + std::to_string(index)); }

RunnerOptions GoldenCase::Options(const std::string& backend, const std::string& dtype) const {
  RunnerOptions options;
  options.base_directory = model_directory();
  options.backend = backend;
  options.dtype = dtype;
  options.threads = 2;
  options.kv_bytes = 4 << 20;
  options.kv_block_tokens = 4;
  std::vector<std::string> names = mixture_experts_.empty() ? experts_ : mixture_experts_;
  if (mixture_experts_.empty()) names.push_back("zero");
  for (const std::string& name : names) options.experts.push_back({name, name == "zero" ? "" : expert_directory(name)});
  return options;
}

LoadedRunner LoadOrFail(const RunnerOptions& options) {
  auto loaded = LoadRunner(options);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return std::move(loaded).value();
}

void WriteGoldenRouter(const GoldenCase& golden, const std::string& kind, int top_k, const std::string& weights,
                       const std::string& directory) {
  const LoadedRunner base = LoadOrFail(golden.Options("reference", "f32"));
  const SnapshotInfo& info = base.runner->snapshot()->info();
  RouterManifest manifest;
  manifest.name = "golden-" + kind;
  manifest.kind = kind == "mlp" ? "dense2moe_mlp" : "linear";
  manifest.top_k = top_k;
  manifest.weight_mode = weights;
  manifest.base_generation = info.base_generation;
  manifest.num_layers = info.num_layers;
  manifest.hidden_size = info.hidden_size;
  for (const SnapshotInfo::Expert& expert : info.experts) manifest.experts.push_back({expert.name, expert.generation, expert.is_zero});
  const std::vector<std::pair<std::string, std::string>> names =
      kind == "mlp" ? std::vector<std::pair<std::string, std::string>>{{"w1", "fc1.weight"},
                                                                       {"b1", "fc1.bias"},
                                                                       {"w2", "fc2.weight"},
                                                                       {"b2", "fc2.bias"}}
                    : std::vector<std::pair<std::string, std::string>>{{"weight", "weight"}};
  std::vector<at::Tensor> keep;
  std::vector<TensorView> views;
  for (int32_t layer = 0; layer < info.num_layers; ++layer) {
    for (const auto& [from, to] : names) {
      keep.push_back(golden.Get(absl::StrFormat("router.%s.%d.%s", kind, layer, from)));
      const at::Tensor& t = keep.back();
      views.push_back({absl::StrFormat("layers.%d.router.%s", layer, to), DType::kF32, t.sizes().vec(),
                       std::as_bytes(std::span(t.const_data_ptr<float>(), static_cast<size_t>(t.numel()))), nullptr});
    }
  }
  const Status written = WriteRouterArtifact(directory, manifest, views);
  ASSERT_TRUE(written.ok()) << written;
}

double RelativeError(const std::vector<std::vector<float>>& rows, const at::Tensor& want) {
  EXPECT_EQ(static_cast<int64_t>(rows.size()), want.size(0));
  if (static_cast<int64_t>(rows.size()) != want.size(0)) return 1;
  double worst = 0;
  for (size_t row = 0; row < rows.size(); ++row) {
    EXPECT_EQ(static_cast<int64_t>(rows[row].size()), want.size(1));
    const at::Tensor got = at::from_blob(const_cast<float*>(rows[row].data()), {want.size(1)}, at::kFloat);
    worst = std::max(worst, (got - want[static_cast<int64_t>(row)]).abs().max().item<double>());
  }
  return worst / want.abs().max().item<double>();
}

}  // namespace switchyard::testing
