#include "engine/artifact/peft_adapter.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <set>

#include "engine/artifact/finite.h"
#include "engine/artifact/mapped_file.h"
#include "engine/artifact/peft_config.h"
#include "engine/artifact/safetensors.h"
#include "engine/artifact/sha256.h"

namespace switchyard {
namespace {
constexpr std::array<const char*, 3> kProjections = {"gate_proj", "up_proj", "down_proj"};
constexpr std::array<const char*, 4> kAttention = {"q_proj", "k_proj", "v_proj", "o_proj"};
constexpr std::string_view kPrefix = "base_model.model.";

std::string Module(int32_t layer, const char* block, const char* projection) {
  return "model.layers." + std::to_string(layer) + "." + block + "." + projection;
}

class Reader {
 public:
  Reader(const std::string& directory, const ModelConfig& base, const PeftReadOptions& options, const PeftConfig& config,
         const SafetensorsFile& file)
      : base_(base), options_(options), config_(config), path_(file.path()) {
    adapter_.directory = directory;
    for (const auto& [name, view] : file.tensors()) {
      const bool prefixed = std::string_view(name).starts_with(kPrefix);
      if (!left_.emplace(prefixed ? name.substr(kPrefix.size()) : name, view).second && twice_.empty()) twice_ = name;
    }
  }

  StatusOr<PeftAdapter> Read() {
    if (!twice_.empty()) return DataLoss("%s: tensor \"%s\" is there with and without the prefix \"%s\"", path_, twice_, kPrefix);
    for (int32_t l = 0; l < base_.num_layers; ++l) {
      LoraLayer& layer = adapter_.layers.emplace_back();
      RETURN_IF_ERROR(ReadPair(l, FfnProjection::kGate, &layer.gate));
      RETURN_IF_ERROR(ReadPair(l, FfnProjection::kUp, &layer.up));
      RETURN_IF_ERROR(ReadPair(l, FfnProjection::kDown, &layer.down));
    }
    if (!adapter_.coverage.missing.empty()) {
      return DataLoss("%s: %d of %d expected tensors are missing, first \"%s\"", path_, adapter_.coverage.missing.size(),
                      adapter_.coverage.expected, adapter_.coverage.missing[0]);
    }
    RETURN_IF_ERROR(ClassifyRest());
    if (adapter_.coverage.loaded == 0) {
      return InvalidArgument("%s: no tensor of the feed-forward block; expected model.layers.N.mlp.{gate,up,down}_proj.lora_{A,B}.weight",
                             path_);
    }
    if (!any_delta_ && !options_.allow_zero_delta) {
      return InvalidArgument(
          "%s: every B (or A) is zero, so the adapter changes nothing; use the zero expert, or allow a zero delta explicitly", path_);
    }
    adapter_.untrained = config_.untrained();
    return std::move(adapter_);
  }

 private:
  Status ReadPair(int32_t l, FfnProjection projection, std::optional<LoraPair>* out) {
    const std::string module = Module(l, "mlp", kProjections[static_cast<int>(projection)]);
    const std::string a_name = module + ".lora_A.weight", b_name = module + ".lora_B.weight";
    const bool has_a = left_.contains(a_name), has_b = left_.contains(b_name);
    if (!config_.Targets(module, l)) {
      if (has_a || has_b)
        return DataLoss("%s: tensor \"%s\" is there but adapter_config.json does not target %s", path_, has_a ? a_name : b_name, module);
      return OkStatus();
    }
    adapter_.coverage.expected += 2;
    if (!has_a) adapter_.coverage.missing.push_back(a_name);
    if (!has_b) adapter_.coverage.missing.push_back(b_name);
    if (!has_a || !has_b) return OkStatus();
    const bool down = projection == FfnProjection::kDown;
    const int64_t in = down ? base_.intermediate_size : base_.hidden_size, outf = down ? base_.hidden_size : base_.intermediate_size;
    LoraPair pair;
    pair.rank = config_.Rank(module);
    pair.scale = config_.Scale(module);
    ASSIGN_OR_RETURN(pair.a, Take(a_name, {pair.rank, in}));
    ASSIGN_OR_RETURN(pair.b, Take(b_name, {outf, pair.rank}));
    any_delta_ |= !AllZero(pair.a) && !AllZero(pair.b);
    adapter_.coverage.loaded += 2;
    adapter_.max_rank = std::max(adapter_.max_rank, pair.rank);
    *out = std::move(pair);
    return OkStatus();
  }

  StatusOr<TensorView> Take(const std::string& name, const std::vector<int64_t>& shape) {
    TensorView view = std::move(left_.extract(name).mapped());
    if (view.shape != shape) {
      return InvalidArgument("%s: tensor \"%s\": expected shape %s (rank of adapter_config.json, sizes of the base), found %s", path_, name,
                             ShapeString(shape), ShapeString(view.shape));
    }
    if (view.dtype != DType::kF32 && view.dtype != DType::kF16 && view.dtype != DType::kBF16) {
      return Unimplemented("%s: tensor \"%s\": dtype %s, expected F32, F16 or BF16", path_, name, DTypeName(view.dtype));
    }
    if (const auto at = FirstNonFinite(view)) return DataLoss("%s: tensor \"%s\" holds NaN or infinity at element %d", path_, name, *at);
    return view;
  }

  // What is left in the file: attention LoRA may be ignored on request, anything else is refused.
  Status ClassifyRest() {
    for (const auto& [name, view] : left_) {
      const bool attention = std::any_of(kAttention.begin(), kAttention.end(), [&name = name](const char* p) {
        return name.find(std::string(".self_attn.") + p + ".lora_") != std::string::npos;
      });
      if (!attention) return Unimplemented("%s: tensor \"%s\" is no part of a feed-forward LoRA expert", path_, name.substr(0, 200));
      if (!options_.allow_attention) {
        return Unimplemented(
            "%s: tensor \"%s\": attention LoRA cannot be routed per token; load with attention tensors ignored, or train the adapter on "
            "the "
            "feed-forward block only",
            path_, name.substr(0, 200));
      }
      adapter_.coverage.ignored.push_back(name);
    }
    return OkStatus();
  }

  const ModelConfig& base_;
  const PeftReadOptions& options_;
  const PeftConfig& config_;
  const std::string path_;
  std::map<std::string, TensorView> left_;
  std::string twice_;  // a tensor under both of PEFT's spellings
  PeftAdapter adapter_;
  bool any_delta_ = false;
};
}  // namespace

StatusOr<PeftAdapter> ReadPeftAdapter(const std::string& directory, const ModelConfig& base, const PeftReadOptions& options) {
  const std::filesystem::path dir(directory);
  const std::string config_path = (dir / "adapter_config.json").string(), weights_path = (dir / "adapter_model.safetensors").string();
  ASSIGN_OR_RETURN(const std::string config_text, ReadSmallFile(config_path, 1 << 20));
  ASSIGN_OR_RETURN(const PeftConfig config, PeftConfig::Parse(config_text, config_path));
  if (!std::filesystem::exists(weights_path) && std::filesystem::exists(dir / "adapter_model.bin")) {
    return Unimplemented("%s: only adapter_model.bin is there; save the adapter as safetensors", directory);
  }
  ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(weights_path));
  ASSIGN_OR_RETURN(PeftAdapter adapter, Reader(directory, base, options, config, *file).Read());
  ASSIGN_OR_RETURN(const std::string weights_hash, Sha256HexOfFile(weights_path));
  adapter.generation = Sha256Hex(Sha256Hex(config_text) + weights_hash);
  return adapter;
}

}  // namespace switchyard
