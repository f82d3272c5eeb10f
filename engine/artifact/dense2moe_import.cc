#include "engine/artifact/dense2moe_import.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/dense2moe_adapter.h"
#include "engine/artifact/dense2moe_checkpoint.h"
#include "engine/artifact/element.h"
#include "engine/artifact/finite.h"
#include "engine/artifact/peft_adapter.h"
#include "engine/artifact/router_artifact.h"
#include "engine/artifact/safetensors.h"

namespace switchyard {
namespace {
namespace fs = std::filesystem;

std::string Join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return "[" + text + "]";
}

class Importer {
 public:
  explicit Importer(const Dense2MoeOptions& options) : options_(options) {}

  StatusOr<Dense2MoeReport> Import() {
    RETURN_IF_ERROR(CheckExpertNames(options_.experts));
    ASSIGN_OR_RETURN(base_, ReadModelConfig(options_.base_directory));
    ASSIGN_OR_RETURN(checkpoint_, ReadDense2MoeCheckpoint(options_.checkpoint, base_));
    RETURN_IF_ERROR(CheckExperts());
    RETURN_IF_ERROR(CompareBase());
    ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(options_.out_directory));
    for (int32_t e = 0; e < checkpoint_.experts; ++e) RETURN_IF_ERROR(ImportExpert(e, staged.path() + "/experts/"));
    RETURN_IF_ERROR(WriteRouter(staged.path() + "/router"));
    RETURN_IF_ERROR(staged.Publish());
    report_.layers = base_.num_layers;
    return std::move(report_);
  }

 private:
  Status CheckExperts() const {
    if (checkpoint_.experts != static_cast<int32_t>(options_.experts.size())) {
      std::vector<std::string> numbers;
      for (int32_t e = 0; e < checkpoint_.experts; ++e) numbers.push_back(std::to_string(e));
      return InvalidArgument("%s: its routers choose among %d experts, %s, but %d names are given: %s", options_.checkpoint,
                             checkpoint_.experts, Join(numbers), options_.experts.size(), Join(options_.experts));
    }
    if (options_.top_k < 1 || options_.top_k > checkpoint_.experts)
      return InvalidArgument("top_k %d, expected 1 to %d", options_.top_k, checkpoint_.experts);
    return OkStatus();
  }

  // Every base tensor of the checkpoint against the base's own. The names of one storage are compared once.
  Status CompareBase() {
    ASSIGN_OR_RETURN(const auto set, SafetensorsSet::OpenModelDirectory(options_.base_directory));
    std::set<std::pair<std::string, const std::byte*>> done;
    int64_t differing = 0;
    for (const auto& [name, view] : checkpoint_.base) {
      if (!done.emplace(name, view.data.data()).second) continue;
      const std::string own =
          name == "lm_head.weight" && !set->tensors().contains(name) && base_.tie_embeddings ? "model.embed_tokens.weight" : name;
      const auto found = set->tensors().find(own);
      if (found == set->tensors().end()) {
        return Unimplemented("%s: tensor \"%s\" is neither the base's nor part of a Dense2MoE model", options_.checkpoint,
                             view.name.substr(0, 200));
      }
      RETURN_IF_ERROR(Compare(view, found->second, &differing));
    }
    if (checkpoint_.base.empty())
      report_.notes.push_back("the checkpoint holds no base tensors, so nothing says that it was trained on this base");
    if (differing > 0)
      report_.notes.push_back(
          absl::StrFormat("%d of %d base tensors differ from the checkpoint's, as was allowed", differing, report_.compared));
    return OkStatus();
  }

  Status Compare(const TensorView& view, const TensorView& own, int64_t* differing) {
    if (!IsFloat(view.dtype) || !IsFloat(own.dtype)) {
      return Unimplemented("%s: tensor \"%s\": dtype %s, the base's is %s; expected floating-point numbers", options_.checkpoint, view.name,
                           DTypeName(view.dtype), DTypeName(own.dtype));
    }
    if (view.shape != own.shape) {
      return InvalidArgument("%s: tensor \"%s\" is %s, the base's \"%s\" is %s: another model", options_.checkpoint, view.name,
                             ShapeString(view.shape), own.name, ShapeString(own.shape));
    }
    ++report_.compared;
    const auto at = FirstDifference(view, own);
    if (!at) return OkStatus();
    ++*differing;
    if (options_.ignore_base_difference) return OkStatus();
    return FailedPrecondition(
        "%s: tensor \"%s\" differs from the base's \"%s\" at element %d (%g, the base has %g): the routers were trained on another base",
        options_.checkpoint, view.name, own.name, *at, ElementAt(view, *at), ElementAt(own, *at));
  }

  // Whether the checkpoint's LoRA of expert `e` leaves every projection as it is.
  bool ChangesNothing(int32_t e) const {
    return std::all_of(checkpoint_.lora.begin(), checkpoint_.lora.end(),
                       [&](const auto& entry) { return std::get<0>(entry.first) != e || AllZero(entry.second.b); });
  }

  Status ImportExpert(int32_t e, const std::string& parent) {
    const std::string& name = options_.experts[static_cast<size_t>(e)];
    const bool last = e + 1 == checkpoint_.experts;
    const std::string adapter = options_.adapters_root.empty() ? "" : options_.adapters_root + "/" + name + "/final_adapter";
    const bool here = !checkpoint_.lora.empty();
    if (here ? ChangesNothing(e) : last && (adapter.empty() || !fs::exists(adapter))) {
      if (!last)
        return InvalidArgument("%s: every B of expert %d (\"%s\") is zero, so it was never trained; only the last one may be",
                               options_.checkpoint, e, name);
      bindings_.push_back({name, "zero", true});
      report_.experts.push_back({name, true, 0, ""});
      return OkStatus();
    }
    if (last && name == "zero")
      report_.notes.push_back("the last expert, \"zero\", was trained: it is kept as one more LoRA and not as the zero expert");
    if (!here && adapter.empty()) {
      return InvalidArgument("%s: no LoRA in it; name the folder of the adapters, in which %s should be", options_.checkpoint,
                             name + "/final_adapter");
    }
    FfnLora lora;
    if (here) {
      for (const auto& [key, pair] : checkpoint_.lora) {
        if (std::get<0>(key) == e)
          (lora[{std::get<1>(key), std::get<2>(key)}] = pair).scale = pair.scale > 0 ? pair.scale : kDense2MoeScale;
      }
    } else {
      ASSIGN_OR_RETURN(lora, ReadDense2MoeAdapter(adapter, base_, &report_.notes));
    }
    const std::string directory = parent + name;
    RETURN_IF_ERROR(WriteFfnLora(directory, std::move(lora)));
    ASSIGN_OR_RETURN(const PeftAdapter written, ReadPeftAdapter(directory, base_, {}));
    bindings_.push_back({name, written.generation, false});
    report_.experts.push_back({name, false, written.max_rank, here ? "checkpoint" : adapter});
    return OkStatus();
  }

  Status WriteRouter(const std::string& directory) const {
    RouterManifest manifest;
    manifest.name = "dense2moe";
    manifest.kind = "dense2moe_mlp";
    manifest.top_k = options_.top_k;
    manifest.weight_mode = "renorm";  // at top-1 the one weight is p / p = 1, as Dense2MoE evaluates
    manifest.round_probabilities_bf16 = options_.round_probabilities_bf16;
    manifest.num_layers = base_.num_layers;
    manifest.hidden_size = base_.hidden_size;
    manifest.experts = bindings_;
    ASSIGN_OR_RETURN(manifest.base_generation, BaseFingerprint(options_.base_directory));
    std::vector<TensorView> tensors;
    for (size_t l = 0; l < checkpoint_.routers.size(); ++l) {
      const Dense2MoeRouter& router = checkpoint_.routers[l];
      const std::string prefix = "layers." + std::to_string(l) + ".router.";
      for (const auto& [view, name] : {std::pair{&router.fc1_weight, "fc1.weight"}, std::pair{&router.fc1_bias, "fc1.bias"},
                                       std::pair{&router.fc2_weight, "fc2.weight"}, std::pair{&router.fc2_bias, "fc2.bias"}}) {
        tensors.push_back(*view);
        tensors.back().name = prefix + name;
      }
    }
    return WriteRouterArtifact(directory, std::move(manifest), tensors);
  }

  const Dense2MoeOptions& options_;
  ModelConfig base_;
  Dense2MoeCheckpoint checkpoint_;
  std::vector<RouterExpertBinding> bindings_;
  Dense2MoeReport report_;
};
}  // namespace

StatusOr<Dense2MoeReport> ImportDense2Moe(const Dense2MoeOptions& options) { return Importer(options).Import(); }

}  // namespace switchyard
