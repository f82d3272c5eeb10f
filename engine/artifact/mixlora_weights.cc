#include "engine/artifact/mixlora_weights.h"

#include <re2/re2.h>

#include <filesystem>
#include <optional>

#include "engine/artifact/element.h"
#include "engine/artifact/finite.h"
#include "engine/artifact/safetensors.h"
#include "engine/artifact/torch_pickle.h"

namespace switchyard {
namespace {
constexpr AttentionProjection kAttention[] = {AttentionProjection::kQuery, AttentionProjection::kKey, AttentionProjection::kValue,
                                              AttentionProjection::kOutput};

StatusOr<std::map<std::string, TensorView>> ReadTensors(const std::string& directory, std::string* path) {
  *path = directory + "/adapter_model.safetensors";
  if (std::filesystem::exists(*path)) {
    ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(*path));
    return file->tensors();
  }
  *path = directory + "/adapter_model.bin";
  ASSIGN_OR_RETURN(const auto file, TorchPickleFile::Open(*path));
  return file->tensors();
}

// Names of old are rewritten to those of today, so that what follows knows one.
std::string TodaysName(const std::string& name) {
  static const RE2 kGate(R"((mixlora\.layers\.\d+)\.gate\.weight)");
  static const RE2 kExpert(R"((mixlora\.layers\.\d+)\.experts\.(\d+)\.(gate|up|down|w1|w2|w3)_proj\.(lora_[AB]\.weight))");
  std::string layer, expert, projection, rest;
  if (RE2::FullMatch(name, kGate, &layer)) return layer + ".mlp.moe_gate.weight";
  if (!RE2::FullMatch(name, kExpert, &layer, &expert, &projection, &rest)) return name;
  const std::string today = projection == "w1" ? "gate" : projection == "w2" ? "down" : projection == "w3" ? "up" : projection;
  return layer + ".mlp." + today + "_proj.experts." + expert + "." + rest;
}

class Sorter {
 public:
  Sorter(const MixLoraConfig& config, const ModelConfig& base, std::string path) : config_(config), base_(base) {
    out_.path = std::move(path);
    out_.experts.resize(static_cast<size_t>(config.experts));
  }

  StatusOr<MixLoraWeights> Sort(std::map<std::string, TensorView> tensors) {
    for (auto& [name, view] : tensors) {
      if (name.find("lora_route") != std::string::npos) {
        return Unimplemented(
            "%s: tensor \"%s\": LoRAMoE routes every projection by itself, not the feed-forward block; it cannot be imported exactly",
            out_.path, name.substr(0, 200));
      }
      const std::string today = TodaysName(name);
      if (!tensors_.emplace(today, std::move(view)).second) return DataLoss("%s: tensor \"%s\" is there under two names", out_.path, today);
    }
    for (int32_t l = 0; l < base_.num_layers; ++l) RETURN_IF_ERROR(Layer(l));
    if (!tensors_.empty()) {
      return Unimplemented(
          "%s: tensor \"%s\" is no part of a MixLoRA adapter of %d layers, %d experts and the targets of its configuration", out_.path,
          tensors_.begin()->first.substr(0, 200), base_.num_layers, config_.experts);
    }
    return std::move(out_);
  }

 private:
  Status Layer(int32_t l) {
    const std::string prefix = "mixlora.layers." + std::to_string(l) + ".";
    ASSIGN_OR_RETURN(TensorView gate, Take(prefix + "mlp.moe_gate.weight"));
    if (gate.shape != std::vector<int64_t>{config_.experts, base_.hidden_size}) {
      return InvalidArgument("%s: tensor \"%s\" is %s, expected [%d, %d]: experts and hidden size", out_.path, gate.name,
                             ShapeString(gate.shape), config_.experts, base_.hidden_size);
    }
    out_.gates.push_back(std::move(gate));
    for (const FfnProjection projection : kFfnProjections) {
      const std::string module = std::string(ShortName(projection)) + "_proj";
      if (!config_.targets.contains(module)) continue;
      const bool down = projection == FfnProjection::kDown;
      const int64_t in = down ? base_.intermediate_size : base_.hidden_size, out = down ? base_.hidden_size : base_.intermediate_size;
      for (int32_t e = 0; e < config_.experts; ++e) {
        ASSIGN_OR_RETURN((out_.experts[e][{l, projection}]),
                         Pair(prefix + "mlp." + module + ".experts." + std::to_string(e), config_.expert, in, out));
      }
    }
    for (const AttentionProjection projection : kAttention) {
      const std::string module = std::string(ShortName(projection)) + "_proj";
      if (!config_.targets.contains(module)) continue;
      const int64_t queries = int64_t{base_.num_heads} * base_.head_dim, keys = int64_t{base_.num_kv_heads} * base_.head_dim;
      const bool output = projection == AttentionProjection::kOutput;
      const int64_t out = output ? base_.hidden_size : projection == AttentionProjection::kQuery ? queries : keys;
      ASSIGN_OR_RETURN((out_.attention[{l, projection}]),
                       Pair(prefix + "self_attn." + module, config_.attention, output ? queries : base_.hidden_size, out));
    }
    return OkStatus();
  }

  StatusOr<ScaledLora> Pair(const std::string& module, const MixLoraConfig::Scale& scale, int64_t in, int64_t out) {
    ScaledLora pair;
    ASSIGN_OR_RETURN(pair.a, Take(module + ".lora_A.weight"));
    ASSIGN_OR_RETURN(pair.b, Take(module + ".lora_B.weight"));
    pair.scale = scale.value();
    if (pair.a.shape != std::vector<int64_t>{scale.rank, in} || pair.b.shape != std::vector<int64_t>{out, scale.rank}) {
      return InvalidArgument("%s: \"%s\": A is %s and B is %s, expected [%d, %d] and [%d, %d]", out_.path, module,
                             ShapeString(pair.a.shape), ShapeString(pair.b.shape), scale.rank, in, out, scale.rank);
    }
    return pair;
  }

  // Out of the tensors that are left, by today's name.
  StatusOr<TensorView> Take(const std::string& name) {
    auto node = tensors_.extract(name);
    if (node.empty()) return DataLoss("%s: tensor \"%s\" is missing", out_.path, name);
    TensorView view = std::move(node.mapped());
    if (!IsFloat(view.dtype) || view.dtype == DType::kF64)
      return Unimplemented("%s: tensor \"%s\": dtype %s, expected F32, F16 or BF16", out_.path, name, DTypeName(view.dtype));
    if (const auto at = FirstNonFinite(view)) return DataLoss("%s: tensor \"%s\": element %d is not finite", out_.path, name, *at);
    view.name = name;
    return view;
  }

  const MixLoraConfig& config_;
  const ModelConfig& base_;
  std::map<std::string, TensorView> tensors_;
  MixLoraWeights out_;
};
}  // namespace

const char* ShortName(AttentionProjection projection) {
  switch (projection) {
    case AttentionProjection::kQuery:
      return "q";
    case AttentionProjection::kKey:
      return "k";
    case AttentionProjection::kValue:
      return "v";
    case AttentionProjection::kOutput:
      return "o";
  }
  return "";
}

StatusOr<MixLoraWeights> ReadMixLoraWeights(const std::string& directory, const MixLoraConfig& config, const ModelConfig& base) {
  std::string path;
  ASSIGN_OR_RETURN(auto tensors, ReadTensors(directory, &path));
  return Sorter(config, base, path).Sort(std::move(tensors));
}

}  // namespace switchyard
