#include "engine/artifact/dense2moe_checkpoint.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "engine/artifact/element.h"
#include "engine/artifact/finite.h"
#include "engine/artifact/torch_pickle.h"

namespace switchyard {
namespace {
constexpr int32_t kMaxExperts = 4096;

bool Eat(std::string_view* text, std::string_view prefix) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

// A number below `limit` and the dot behind it.
std::optional<int32_t> EatNumber(std::string_view* text, int32_t limit) {
  int32_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc() || number < 0 || number >= limit || end == text->data() + text->size() || *end != '.') return std::nullopt;
  text->remove_prefix(static_cast<size_t>(end - text->data()) + 1);
  return number;
}

std::optional<FfnProjection> EatProjection(std::string_view* text) {
  for (const FfnProjection projection : kFfnProjections) {
    if (Eat(text, ShortName(projection))) return projection;
  }
  return std::nullopt;
}

class Sorter {
 public:
  Sorter(const std::string& path, const ModelConfig& base) : base_(base) {
    out_.path = path;
    out_.routers.resize(static_cast<size_t>(base.num_layers));
  }

  StatusOr<Dense2MoeCheckpoint> Sort(const TorchPickleFile& file) {
    for (const auto& [name, view] : file.tensors()) {
      ASSIGN_OR_RETURN(const bool known, Place(name, view));
      if (!known)
        return Unimplemented("%s: tensor \"%s\" is no part of a Dense2MoE model of %d layers", out_.path, name.substr(0, 200),
                             base_.num_layers);
    }
    RETURN_IF_ERROR(CheckRouters());
    RETURN_IF_ERROR(CheckLora());
    return std::move(out_);
  }

 private:
  StatusOr<bool> Place(const std::string& name, const TensorView& view) {
    std::string_view rest = name;
    if (!Eat(&rest, "base_model.")) return false;
    if (rest.ends_with(".rotary_emb.inv_freq")) return true;  // older transformers saved it; config.json says the same
    const std::string_view whole = rest;
    if (!Eat(&rest, "model.layers.")) return Base(whole, view);
    const std::optional<int32_t> layer = EatNumber(&rest, base_.num_layers);
    if (!layer) return false;
    const std::string mlp = "model.layers." + std::to_string(*layer) + ".mlp.";
    if (!Eat(&rest, "mlp.")) return Base(whole, view);
    if (Eat(&rest, "original_mlp.")) return Base(mlp + std::string(rest), view);
    if (Eat(&rest, "router.net.")) return Router(*layer, rest, view);
    if (!Eat(&rest, "experts.")) return false;
    const std::optional<int32_t> expert = EatNumber(&rest, kMaxExperts);
    if (!expert) return false;
    if (Eat(&rest, "original_")) return Base(mlp + std::string(rest), view);
    const std::optional<FfnProjection> projection = EatProjection(&rest);
    if (!projection) return false;
    ScaledLora& pair = out_.lora[{*expert, *layer, *projection}];
    if (rest == "Scale") return Scale(view, &pair.scale);
    if (rest != "A" && rest != "B") return false;
    (rest == "A" ? pair.a : pair.b) = view;
    return true;
  }

  StatusOr<bool> Base(std::string_view name, const TensorView& view) {
    out_.base.emplace_back(std::string(name), view);
    return true;
  }

  StatusOr<bool> Router(int32_t layer, std::string_view tail, const TensorView& view) {
    Dense2MoeRouter& router = out_.routers[static_cast<size_t>(layer)];
    TensorView* const slot = tail == "0.weight"   ? &router.fc1_weight
                             : tail == "0.bias"   ? &router.fc1_bias
                             : tail == "3.weight" ? &router.fc2_weight
                             : tail == "3.bias"   ? &router.fc2_bias
                                                  : nullptr;
    if (slot == nullptr) return false;
    *slot = view;
    return true;
  }

  StatusOr<bool> Scale(const TensorView& view, double* scale) {
    if (!IsFloat(view.dtype) || view.elements() != 1) {
      return InvalidArgument("%s: tensor \"%s\" is %s %s, expected one floating-point number", out_.path, view.name, DTypeName(view.dtype),
                             ShapeString(view.shape));
    }
    *scale = ElementAt(view, 0);
    if (!std::isfinite(*scale) || *scale <= 0)
      return InvalidArgument("%s: tensor \"%s\" is %g, expected a positive scale", out_.path, view.name, *scale);
    return true;
  }

  Status Missing(const std::string& name) const { return DataLoss("%s: tensor \"%s\" is missing", out_.path, name); }

  Status CheckFloat(const TensorView& view, const std::vector<int64_t>& shape) const {
    if (!IsFloat(view.dtype) || view.dtype == DType::kF64) {
      return Unimplemented("%s: tensor \"%s\": dtype %s, expected F32, F16 or BF16", out_.path, view.name, DTypeName(view.dtype));
    }
    if (view.shape != shape) {
      return InvalidArgument("%s: tensor \"%s\": expected shape %s, found %s", out_.path, view.name, ShapeString(shape),
                             ShapeString(view.shape));
    }
    if (const auto at = FirstNonFinite(view))
      return DataLoss("%s: tensor \"%s\" holds NaN or infinity at element %d", out_.path, view.name, *at);
    return OkStatus();
  }

  Status CheckRouters() {
    for (size_t l = 0; l < out_.routers.size(); ++l) {
      const Dense2MoeRouter& router = out_.routers[l];
      const std::pair<const TensorView*, const char*> parts[] = {
          {&router.fc1_weight, "0.weight"}, {&router.fc1_bias, "0.bias"}, {&router.fc2_weight, "3.weight"}, {&router.fc2_bias, "3.bias"}};
      for (const auto& [view, tail] : parts) {
        if (view->name.empty()) return Missing("base_model.model.layers." + std::to_string(l) + ".mlp.router.net." + tail);
      }
      if (l == 0) {
        if (router.fc1_weight.shape.size() != 2 || router.fc1_weight.shape[0] < 1) {
          return InvalidArgument("%s: tensor \"%s\": shape %s, expected [width, %d]", out_.path, router.fc1_weight.name,
                                 ShapeString(router.fc1_weight.shape), base_.hidden_size);
        }
        width_ = router.fc1_weight.shape[0];
        const std::vector<int64_t>& shape = router.fc2_weight.shape;
        if (shape.size() != 2 || shape[0] < 1 || shape[0] > kMaxExperts) {
          return InvalidArgument("%s: tensor \"%s\": shape %s, expected [experts, %d]", out_.path, router.fc2_weight.name,
                                 ShapeString(shape), width_);
        }
        out_.experts = static_cast<int32_t>(shape[0]);
      }
      RETURN_IF_ERROR(CheckFloat(router.fc1_weight, {width_, base_.hidden_size}));
      RETURN_IF_ERROR(CheckFloat(router.fc1_bias, {width_}));
      RETURN_IF_ERROR(CheckFloat(router.fc2_weight, {out_.experts, width_}));
      RETURN_IF_ERROR(CheckFloat(router.fc2_bias, {out_.experts}));
    }
    return OkStatus();
  }

  Status CheckLora() {
    if (out_.lora.empty()) return OkStatus();
    const int32_t last = std::get<0>(out_.lora.rbegin()->first);
    if (last >= out_.experts) {
      return InvalidArgument("%s: there is LoRA of experts 0 to %d, the routers choose among %d", out_.path, last, out_.experts);
    }
    for (int32_t e = 0; e < out_.experts; ++e) {
      for (int32_t l = 0; l < base_.num_layers; ++l) {
        for (const FfnProjection projection : kFfnProjections) RETURN_IF_ERROR(CheckPair(e, l, projection));
      }
    }
    return OkStatus();
  }

  Status CheckPair(int32_t e, int32_t l, FfnProjection projection) const {
    const std::string prefix =
        "base_model.model.layers." + std::to_string(l) + ".mlp.experts." + std::to_string(e) + "." + ShortName(projection);
    const auto found = out_.lora.find({e, l, projection});
    if (found == out_.lora.end() || found->second.a.name.empty()) return Missing(prefix + "A");
    const ScaledLora& pair = found->second;
    if (pair.b.name.empty()) return Missing(prefix + "B");
    const bool down = projection == FfnProjection::kDown;
    const int64_t in = down ? base_.intermediate_size : base_.hidden_size, out = down ? base_.hidden_size : base_.intermediate_size;
    if (pair.a.shape.size() != 2 || pair.a.shape[0] < 1) {
      return InvalidArgument("%s: tensor \"%s\": shape %s, expected [rank, %d]", out_.path, pair.a.name, ShapeString(pair.a.shape), in);
    }
    RETURN_IF_ERROR(CheckFloat(pair.a, {pair.a.shape[0], in}));
    return CheckFloat(pair.b, {out, pair.a.shape[0]});
  }

  const ModelConfig& base_;
  Dense2MoeCheckpoint out_;
  int64_t width_ = 0;
};
}  // namespace

StatusOr<Dense2MoeCheckpoint> ReadDense2MoeCheckpoint(const std::string& path, const ModelConfig& base) {
  ASSIGN_OR_RETURN(const auto file, TorchPickleFile::Open(path));
  return Sorter(path, base).Sort(*file);
}

}  // namespace switchyard
