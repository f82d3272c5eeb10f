// The methods by kind. A new method is one file and one row here.
#include "engine/routing/aoe_router.h"
#include "engine/routing/arrow_router.h"
#include "engine/routing/dense2moe_mlp_router.h"
#include "engine/routing/ermoe_router.h"
#include "engine/routing/expert_choice_router.h"
#include "engine/routing/gmm_router.h"
#include "engine/routing/hash_router.h"
#include "engine/routing/linear_router.h"
#include "engine/routing/lpr_router.h"
#include "engine/routing/phatgoose_router.h"
#include "engine/routing/router.h"
#include "engine/routing/stablemoe_router.h"

namespace switchyard {

namespace {

struct Method {
  std::string_view kind;
  StatusOr<std::unique_ptr<Router>> (*load)(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);
};

constexpr Method kMethods[] = {
    {"aoe", LoadAoeRouter},
    {"arrow", LoadArrowRouter},
    {"dense2moe_mlp", LoadDense2MoeMlpRouter},
    {"ermoe", LoadErmoeRouter},
    {"expert_choice", LoadExpertChoiceRouter},
    {"gmm", LoadGmmRouter},
    {"hash", LoadHashRouter},
    {"linear", LoadLinearRouter},
    {"lpr", LoadLprRouter},
    {"phatgoose", LoadPhatgooseRouter},
    {"stablemoe", LoadStableMoeRouter},
};

// Methods that need the whole batch: what to do instead.
struct TrainingOnly {
  std::string_view kind, instead;
};

constexpr TrainingOnly kTrainingOnly[] = {
    {"max_score",
     "MaxScore deals the experts out among all tokens of a batch, so a route would depend on later tokens and on other requests; it is a "
     "way "
     "to train: switchyard-trainer router --kind linear --dispatch max-score publishes a \"linear\" router, which serves"},
};

StatusOr<SelectionRule> RuleOf(const RouterArtifact& artifact) {
  const RouterManifest& manifest = artifact.manifest;
  const auto experts = static_cast<int32_t>(manifest.experts.size());
  if (manifest.mixing != "ffn") return Unimplemented("%s: mixing \"%s\", expected \"ffn\"", artifact.directory, manifest.mixing);
  if (!manifest.causal) return Unimplemented("%s: a router that is not causal cannot serve", artifact.directory);
  if (manifest.num_layers < 1 || manifest.hidden_size < 1 || experts < 1) {
    return InvalidArgument("%s: %d layers of width %d over %d experts, expected at least 1 each", artifact.directory, manifest.num_layers,
                           manifest.hidden_size, experts);
  }
  if (manifest.top_k < 1 || manifest.top_k > experts) {
    return InvalidArgument("%s: top_k: expected 1 to %d, found %d", artifact.directory, experts, manifest.top_k);
  }
  SelectionRule rule;
  rule.top_k = manifest.top_k;
  rule.round_probabilities_bf16 = manifest.round_probabilities_bf16;
  const auto mode = ParseWeightMode(manifest.weight_mode);
  if (!mode.ok()) return Annotate(mode.status(), artifact.directory);
  rule.weight_mode = *mode;
  if (rule.weight_mode == WeightMode::kSigmoid && rule.top_k != 1)
    return InvalidArgument("%s: weight_mode sigmoid: top_k: expected 1, found %d", artifact.directory, rule.top_k);
  return rule;
}

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadRouter(const RouterArtifact& artifact, const Compute& compute) {
  std::string known;
  for (const Method& method : kMethods) {
    if (method.kind != artifact.manifest.kind) {
      known += absl::StrFormat("%s\"%s\"", known.empty() ? "" : ", ", method.kind);
      continue;
    }
    ASSIGN_OR_RETURN(const SelectionRule rule, RuleOf(artifact));
    return method.load(artifact, rule, compute);
  }
  for (const TrainingOnly& method : kTrainingOnly) {
    if (method.kind == artifact.manifest.kind)
      return Unimplemented("%s: router kind \"%s\" cannot serve: %s", artifact.directory, method.kind, method.instead);
  }
  return Unimplemented("%s: router kind \"%s\", this server knows %s", artifact.directory, artifact.manifest.kind.substr(0, 40), known);
}

}  // namespace switchyard
