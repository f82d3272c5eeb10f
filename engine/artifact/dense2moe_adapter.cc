#include "engine/artifact/dense2moe_adapter.h"

#include <cmath>
#include <filesystem>
#include <optional>
#include <string_view>

#include "engine/artifact/element.h"
#include "engine/artifact/mapped_file.h"
#include "engine/artifact/peft_config.h"
#include "engine/artifact/safetensors.h"
#include "engine/artifact/torch_pickle.h"

namespace switchyard {
namespace {
namespace fs = std::filesystem;

// The file's tensors, and its path for messages.
StatusOr<std::map<std::string, TensorView>> ReadWeights(const std::string& directory, std::string* path) {
  *path = directory + "/adapter_model.safetensors";
  if (fs::exists(*path)) {
    ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(*path));
    return file->tensors();
  }
  *path = directory + "/adapter_model.bin";
  ASSIGN_OR_RETURN(const auto file, TorchPickleFile::Open(*path));
  return file->tensors();
}

class Reader {
 public:
  Reader(std::string path, const ModelConfig& base, std::map<std::string, TensorView> tensors) : path_(std::move(path)), base_(base) {
    // Dense2MoE looks for ".layers.N.mlp." anywhere in a name; PEFT's names carry varying prefixes.
    for (auto& [name, view] : tensors) {
      const size_t at = name.find("layers.");
      const bool inside = at != std::string::npos && name.find(".mlp.") != std::string::npos;
      if (!inside) {
        ++outside_;
      } else if (const std::string tail = name.substr(at); !tensors_.emplace(tail, std::move(view)).second && twice_.empty()) {
        twice_ = tail;
      }
    }
  }

  StatusOr<FfnLora> Read() const {
    if (!twice_.empty()) return DataLoss("%s: tensor \"%s\" is there under two names", path_, twice_.substr(0, 200));
    FfnLora lora;
    for (int32_t l = 0; l < base_.num_layers; ++l) {
      for (const FfnProjection projection : kFfnProjections) {
        ASSIGN_OR_RETURN((lora[{l, projection}]), Pair(l, projection));
      }
    }
    return lora;
  }
  int64_t outside() const { return outside_; }

 private:
  StatusOr<ScaledLora> Pair(int32_t layer, FfnProjection projection) const {
    const std::string module = FfnModule(layer, projection);
    ScaledLora pair;
    ASSIGN_OR_RETURN(pair.a, Tensor(module + ".lora_A.weight"));
    ASSIGN_OR_RETURN(pair.b, Tensor(module + ".lora_B.weight"));
    const bool down = projection == FfnProjection::kDown;
    const int64_t in = down ? base_.intermediate_size : base_.hidden_size, out = down ? base_.hidden_size : base_.intermediate_size;
    if (pair.a.shape.size() != 2 || pair.a.shape[0] < 1 || pair.a.shape[1] != in ||
        pair.b.shape != std::vector<int64_t>{out, pair.a.shape[0]}) {
      return InvalidArgument("%s: \"%s\": A is %s and B is %s, expected [rank, %d] and [%d, rank]", path_, module,
                             ShapeString(pair.a.shape), ShapeString(pair.b.shape), in, out);
    }
    const auto rank = static_cast<double>(pair.a.shape[0]);
    pair.scale = kDense2MoeScale;
    for (const auto& [tail, divisor] : {std::pair{".scaling", 1.0}, std::pair{".alpha", rank}, std::pair{".lora_alpha", rank}}) {
      const auto found = tensors_.find(module + tail);
      if (found == tensors_.end()) continue;
      const TensorView& view = found->second;
      pair.scale = IsFloat(view.dtype) && view.elements() == 1 ? ElementAt(view, 0) / divisor : 0;
      if (!std::isfinite(pair.scale) || pair.scale <= 0)
        return InvalidArgument("%s: tensor \"%s\" is not one positive number", path_, module + tail);
      break;
    }
    return pair;
  }

  StatusOr<TensorView> Tensor(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return DataLoss("%s: tensor \"%s\" is missing; gate, up and down of every layer are needed", path_, name);
    return found->second;
  }

  const std::string path_;
  const ModelConfig& base_;
  std::map<std::string, TensorView> tensors_;  // by name from "layers." on
  std::string twice_;
  int64_t outside_ = 0;
};

// What PEFT's configuration would have computed otherwise.
Status CheckConfig(const std::string& directory, const FfnLora& lora, std::vector<std::string>* notes) {
  const std::string path = directory + "/adapter_config.json";
  if (!fs::exists(path)) {
    notes->push_back(path + " is not there; the scale is taken to be what Dense2MoE uses");
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, 1 << 20));
  ASSIGN_OR_RETURN(const PeftConfig config, PeftConfig::Parse(text, path));
  for (const auto& [key, pair] : lora) {
    const double said = config.Scale("model." + FfnModule(key.first, key.second));
    if (std::abs(said - pair.scale) <= 1e-9 * said) continue;
    notes->push_back(absl::StrFormat("%s gives a scale of %g (first at %s); Dense2MoE does not read it and used %g, and so does the import",
                                     path, said, FfnModule(key.first, key.second), pair.scale));
    break;
  }
  return OkStatus();
}
}  // namespace

StatusOr<FfnLora> ReadDense2MoeAdapter(const std::string& directory, const ModelConfig& base, std::vector<std::string>* notes) {
  std::string path;
  ASSIGN_OR_RETURN(auto tensors, ReadWeights(directory, &path));
  const Reader reader(path, base, std::move(tensors));
  ASSIGN_OR_RETURN(FfnLora lora, reader.Read());
  RETURN_IF_ERROR(CheckConfig(directory, lora, notes));
  if (reader.outside() > 0) {
    notes->push_back(
        absl::StrFormat("%s: %d tensors outside the feed-forward blocks (attention LoRA) are left out, as Dense2MoE leaves them out", path,
                        reader.outside()));
  }
  return lora;
}

}  // namespace switchyard
