#include "trainer/commands/experts.h"

#include <charconv>
#include <cmath>
#include <set>

#include "engine/artifact/router_artifact.h"

namespace switchyard::trainer {

void ExpertFlags::AddTo(CLI::App& app, bool may_be_fresh) {
  app.add_option("--expert", experts, "NAME=DIRECTORY: a PEFT expert, in router order")->group("Experts");
  if (may_be_fresh) {
    app.add_option("--new-expert", fresh, "NAME[:RANK]: a fresh one whose delta is zero, trained jointly with the router")
        ->group("Experts");
  }
  app.add_flag("--zero,!--no-zero", zero, "the untouched block is an expert as well, named zero, the last")->group("Experts");
}

StatusOr<std::vector<LoraExpert>> OpenExperts(const ExpertFlags& flags, const TrainCompute& compute, const ModelConfig& base, bool train,
                                              uint64_t seed) {
  std::vector<LoraExpert> experts;
  std::set<std::string> names;
  for (const std::string& text : flags.experts) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) return InvalidArgument("--expert %s: expected NAME=DIRECTORY", text);
    const std::string name = text.substr(0, equals);
    if (!names.insert(name).second || name == "zero") return InvalidArgument("--expert %s: the name %s is taken", text, name);
    ASSIGN_OR_RETURN(LoraExpert expert, ReadLoraExpert(compute, name, text.substr(equals + 1), base, train));
    experts.push_back(std::move(expert));
  }
  for (const std::string& text : flags.fresh) {
    const size_t colon = text.find(':');
    const std::string name = text.substr(0, colon);
    LoraOptions options;
    if (colon != std::string::npos) {
      const char* end = text.data() + text.size();
      const auto parsed = std::from_chars(text.data() + colon + 1, end, options.rank);
      if (parsed.ec != std::errc() || parsed.ptr != end || options.rank < 1)
        return InvalidArgument("--new-expert %s: expected NAME or NAME:RANK", text);
    }
    if (name.empty() || !names.insert(name).second || name == "zero")
      return InvalidArgument("--new-expert %s: the name is taken or empty", text);
    options.alpha = 2.0 * options.rank;
    experts.push_back(NewLoraExpert(compute, name, base, options, seed + experts.size() + 1));
  }
  if (flags.zero) experts.push_back(ZeroLoraExpert("zero", base));
  return experts;
}

StatusOr<LoraOptions> OptionsOf(const LoraExpert& expert) {
  LoraOptions options;
  options.gate = options.up = options.down = false;
  const LoraMatrix* first = nullptr;
  for (const LoraBlock& block : expert.layers) {
    for (const auto& [matrix, present] :
         {std::pair{&block.gate, &options.gate}, std::pair{&block.up, &options.up}, std::pair{&block.down, &options.down}}) {
      if (!matrix->has_value()) continue;
      *present = true;
      if (first == nullptr) first = &**matrix;
      if ((*matrix)->rank() != first->rank() || std::abs((*matrix)->scale() - first->scale()) > 1e-6f * std::abs(first->scale())) {
        return InvalidArgument("expert %s: its matrices differ in rank or scale; such an expert can be used, but not trained further",
                               expert.name);
      }
    }
  }
  if (first == nullptr) return InvalidArgument("expert %s has no matrix", expert.name);
  options.rank = static_cast<int32_t>(first->rank());
  options.alpha = static_cast<double>(first->scale()) * static_cast<double>(first->rank());
  return options;
}

StatusOr<std::unique_ptr<RouterModule>> OpenPublishedRouter(const std::string& directory, const BaseWeights& base,
                                                            const std::vector<LoraExpert>& experts, RouterOptions options) {
  ASSIGN_OR_RETURN(const RouterArtifact artifact, ReadRouterArtifact(directory));
  std::vector<RouterExpertBinding> bindings;
  for (const LoraExpert& expert : experts) bindings.push_back({expert.name, expert.generation, expert.is_zero});
  RETURN_IF_ERROR(CheckRouterBinding(artifact.manifest, base.generation, bindings));
  options.top_k = artifact.manifest.top_k;
  const std::string& mode = artifact.manifest.weight_mode;
  options.gate = mode == "raw" || mode == "sigmoid" ? mode : options.top_k == 1 ? "ste" : "renorm";
  options.compute = base.dtype;
  return ReadRouter(artifact, options);
}

}  // namespace switchyard::trainer
