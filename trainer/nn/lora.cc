#include "trainer/nn/lora.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/safetensors.h"
#include "engine/tensor/compute.h"
#include "trainer/nn/loops.h"
#include "trainer/nn/tensor_views.h"

namespace switchyard::trainer {

namespace {

float* Data(at::Tensor& t) { return t.mutable_data_ptr<float>(); }

// The matrix of rows at p, borrowed.
at::Tensor Borrow(const float* p, int64_t rows, int64_t width) { return at::from_blob(const_cast<float*>(p), {rows, width}, at::kFloat); }

double Scale(const LoraOptions& options) {
  return options.alpha / (options.rslora ? std::sqrt(static_cast<double>(options.rank)) : static_cast<double>(options.rank));
}

std::string ModuleName(int64_t layer, const char* projection) { return absl::StrFormat("model.layers.%d.mlp.%s", layer, projection); }

struct NamedMatrix {
  const char* projection;
  const std::optional<LoraMatrix>* matrix;
};
std::vector<NamedMatrix> Matrices(const LoraBlock& block) {
  return {{"gate_proj", &block.gate}, {"up_proj", &block.up}, {"down_proj", &block.down}};
}

}  // namespace

Parameter MakeParameter(const std::string& name, const at::Tensor& value, bool decay) {
  const at::Tensor own = value.detach().to(at::kFloat).contiguous().clone();
  return {name, own, at::zeros_like(own), decay};
}

LoraMatrix::LoraMatrix(const TrainCompute& compute, const std::string& name, const at::Tensor& a, const at::Tensor& b, float scale,
                       bool trainable)
    : compute_(&compute),
      a_(MakeParameter(name + ".lora_A", a, true)),
      b_(MakeParameter(name + ".lora_B", b, true)),
      scale_(scale),
      trainable_(trainable) {
  Repack();
}

void LoraMatrix::Repack() {
  packed_a_ = std::make_unique<PackedLinear>(*compute_, a_.value);
  packed_b_ = std::make_unique<PackedLinear>(*compute_, b_.value);
}

void LoraMatrix::Shrink(const float* x, int64_t rows, float* z) const { packed_a_->Forward(x, rows, z); }

void LoraMatrix::Expand(const float* z, int64_t rows, float* y) const {
  at::Tensor scaled = Borrow(z, rows, rank()) * scale_;
  packed_b_->Forward(Data(scaled), rows, y, /*accumulate=*/true);
}

PackedRows LoraMatrix::PackShrunk(const PackedRows& x, int64_t row_bytes) const {
  at::Tensor z = at::empty({x.rows(), rank()}, at::kFloat);
  packed_a_->Forward(x, Data(z));
  z.mul_(scale_);
  return PackedRows(*compute_, Data(z), x.rows(), rank(), row_bytes);
}

PackedRows LoraMatrix::PackShrunkBack(const PackedRows& dy, int64_t row_bytes) const {
  at::Tensor e = at::empty({dy.rows(), rank()}, at::kFloat);
  packed_b_->Backward(dy, Data(e));
  e.mul_(scale_);
  return PackedRows(*compute_, Data(e), dy.rows(), rank(), row_bytes);
}

void LoraMatrix::AddDelta(const void* z, int64_t rows, const int64_t* places, float* y) const {
  const int64_t width = b_.value.size(0);
  kernels::GemmOfPart(z, rows, packed_b_->forward(), {0, width, 0, rank()}, y, width, /*accumulate=*/true, places);
}

void LoraMatrix::AddDeltaBack(const void* e, int64_t rows, const int64_t* places, float* dx) const {
  const int64_t width = a_.value.size(1);
  kernels::GemmOfPart(e, rows, packed_a_->backward(), {0, width, 0, rank()}, dx, width, /*accumulate=*/true, places);
}

void LoraMatrix::ShrinkTile(const void* x, int64_t rows, float* z) const {
  kernels::GemmOfPart(x, rows, packed_a_->forward(), {0, rank(), 0, a_.value.size(1)}, z, rank(), /*accumulate=*/false, nullptr);
}

void LoraMatrix::ShrinkBackTile(const void* dy, int64_t rows, float* e) const {
  kernels::GemmOfPart(dy, rows, packed_b_->backward(), {0, rank(), 0, b_.value.size(0)}, e, rank(), /*accumulate=*/false, nullptr);
  for (int64_t i = 0; i < rows * rank(); ++i) e[i] *= scale_;
}

void LoraMatrix::ShrinkBack(const float* dy, int64_t rows, float* e) const {
  packed_b_->Backward(dy, rows, e);
  for (int64_t i = 0; i < rows * rank(); ++i) e[i] *= scale_;
}

void LoraMatrix::ExpandBack(const float* e, int64_t rows, float* dx) const { packed_a_->Backward(e, rows, dx, /*accumulate=*/true); }

void LoraMatrix::AddGradients(const float* x, const float* z, const float* dy, const float* e, int64_t rows) {
  const int64_t in = a_.value.size(1), out = b_.value.size(0), rank = this->rank();
  const auto add = [&](const float* low, const float* wide, int64_t width, float* sum) {
    constexpr int64_t kColumns = 64;  // of a task: its part of the wide rows stays in the second-level cache
    compute_->pool->ParallelFor((width + kColumns - 1) / kColumns, 1, [&](int64_t first, int64_t last) {
      for (int64_t part = first; part < last; ++part) {
        loops::AddTransposedProduct({low, rank}, {wide, width}, rows, rank, part * kColumns, std::min((part + 1) * kColumns, width), sum,
                                    width);
      }
    });
  };
  add(e, x, in, Data(a_.grad));
  at::Tensor b_transposed = at::zeros({rank, out}, at::kFloat);
  add(z, dy, out, Data(b_transposed));
  b_.grad.add_(b_transposed.t(), scale_);
}

std::vector<Parameter> LoraExpert::Parameters() const {
  std::vector<Parameter> parameters;
  for (const LoraBlock& block : layers) {
    for (const NamedMatrix& named : Matrices(block)) {
      if (!named.matrix->has_value() || !(*named.matrix)->trainable()) continue;
      parameters.push_back((*named.matrix)->a());
      parameters.push_back((*named.matrix)->b());
    }
  }
  return parameters;
}

void LoraExpert::Repack() {
  for (LoraBlock& block : layers) {
    for (std::optional<LoraMatrix>* matrix : {&block.gate, &block.up, &block.down}) {
      if (*matrix && (*matrix)->trainable()) (*matrix)->Repack();
    }
  }
}

LoraExpert NewLoraExpert(const TrainCompute& compute, const std::string& name, const ModelConfig& base, const LoraOptions& options,
                         uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  LoraExpert expert;
  expert.name = name;
  const auto make = [&](int64_t layer, const char* projection, int64_t in, int64_t out) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(in));
    const at::Tensor a = at::empty({options.rank, in}, at::kFloat).uniform_(-bound, bound, generator);
    return LoraMatrix(compute, name + "." + ModuleName(layer, projection), a, at::zeros({out, options.rank}),
                      static_cast<float>(Scale(options)),
                      /*trainable=*/true);
  };
  for (int32_t l = 0; l < base.num_layers; ++l) {
    LoraBlock block;
    if (l < options.first_layer || (options.last_layer >= 0 && l > options.last_layer)) {
      expert.layers.push_back(std::move(block));
      continue;
    }
    if (options.gate) block.gate.emplace(make(l, "gate_proj", base.hidden_size, base.intermediate_size));
    if (options.up) block.up.emplace(make(l, "up_proj", base.hidden_size, base.intermediate_size));
    if (options.down) block.down.emplace(make(l, "down_proj", base.intermediate_size, base.hidden_size));
    expert.layers.push_back(std::move(block));
  }
  return expert;
}

LoraExpert ZeroLoraExpert(const std::string& name, const ModelConfig& base) {
  LoraExpert expert;
  expert.name = name;
  expert.is_zero = true;
  expert.generation = "zero";
  expert.layers.resize(static_cast<size_t>(base.num_layers));
  return expert;
}

StatusOr<LoraExpert> ReadLoraExpert(const TrainCompute& compute, const std::string& name, const std::string& directory,
                                    const ModelConfig& base, bool trainable) {
  ASSIGN_OR_RETURN(const PeftAdapter adapter, ReadPeftAdapter(directory, base, {.allow_attention = false, .allow_zero_delta = true}));
  LoraExpert expert;
  expert.name = name;
  expert.generation = adapter.generation;
  expert.directory = directory;
  for (size_t l = 0; l < adapter.layers.size(); ++l) {
    LoraBlock block;
    const auto take = [&](const std::optional<LoraPair>& pair, const char* projection, std::optional<LoraMatrix>* to) -> Status {
      if (!pair) return OkStatus();
      ASSIGN_OR_RETURN(const at::Tensor a, TensorFromView(pair->a, at::kFloat));
      ASSIGN_OR_RETURN(const at::Tensor b, TensorFromView(pair->b, at::kFloat));
      to->emplace(compute, name + "." + ModuleName(static_cast<int64_t>(l), projection), a, b, static_cast<float>(pair->scale), trainable);
      return OkStatus();
    };
    RETURN_IF_ERROR(take(adapter.layers[l].gate, "gate_proj", &block.gate));
    RETURN_IF_ERROR(take(adapter.layers[l].up, "up_proj", &block.up));
    RETURN_IF_ERROR(take(adapter.layers[l].down, "down_proj", &block.down));
    expert.layers.push_back(std::move(block));
  }
  return expert;
}

Status WriteLoraExpert(const LoraExpert& expert, const LoraOptions& options, const std::string& base_name, const std::string& directory) {
  std::vector<TensorView> tensors;
  std::vector<size_t> layers;
  for (size_t l = 0; l < expert.layers.size(); ++l) {
    if (!expert.layers[l].empty()) layers.push_back(l);
    for (const NamedMatrix& named : Matrices(expert.layers[l])) {
      if (!named.matrix->has_value()) continue;
      const std::string module = "base_model.model." + ModuleName(static_cast<int64_t>(l), named.projection);
      tensors.push_back(ViewOf(module + ".lora_A.weight", (*named.matrix)->a().value));
      tensors.push_back(ViewOf(module + ".lora_B.weight", (*named.matrix)->b().value));
    }
  }
  std::vector<std::string> targets;
  if (options.gate) targets.push_back("gate_proj");
  if (options.up) targets.push_back("up_proj");
  if (options.down) targets.push_back("down_proj");
  nlohmann::ordered_json config = {
      {"peft_type", "LORA"},         {"task_type", "CAUSAL_LM"},        {"base_model_name_or_path", base_name}, {"r", options.rank},
      {"lora_alpha", options.alpha}, {"lora_dropout", options.dropout}, {"use_rslora", options.rslora},         {"bias", "none"},
      {"target_modules", targets},   {"inference_mode", true}};
  if (layers.size() < expert.layers.size()) config["layers_to_transform"] = layers;
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(directory));
  RETURN_IF_ERROR(WriteSafetensors(staged.path() + "/adapter_model.safetensors", tensors, {{"format", "pt"}}));
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/adapter_config.json", config.dump(2) + "\n"));
  return staged.Publish();
}

}  // namespace switchyard::trainer
