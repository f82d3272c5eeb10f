#include "engine/catalog/coverage.h"

#include <algorithm>

namespace switchyard {
namespace {

std::string Join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::string Shown(const std::string& name, const std::string& generation, bool zero) {
  return zero ? name : name + " (" + ShortHash(generation) + ")";
}

}  // namespace

std::string ShortHash(const std::string& generation) { return generation.substr(0, 12); }

Coverage CoverageOf(const RouterInfo& router, const std::vector<NamedArtifact>& experts) {
  Coverage coverage;
  std::vector<std::string> bound, served;
  for (const RouterInfo::Binding& binding : router.experts) {
    bound.push_back(Shown(binding.name, binding.generation, binding.is_zero));
    const bool there = std::any_of(experts.begin(), experts.end(),
                                   [&](const NamedArtifact& e) { return e.name == binding.name && e.generation == binding.generation; });
    if (!there) coverage.missing.push_back(bound.back());
  }
  for (const NamedArtifact& expert : experts) {
    served.push_back(Shown(expert.name, expert.generation, expert.directory.empty()));
    const bool named = std::any_of(router.experts.begin(), router.experts.end(), [&](const RouterInfo::Binding& b) {
      return b.name == expert.name && b.generation == expert.generation;
    });
    if (named) continue;
    const bool derives = router.separable && !expert.directory.empty();
    (derives ? coverage.derived : coverage.unbound).push_back(served.back());
  }
  coverage.bound_list = Join(bound);
  coverage.served_list = Join(served);
  return coverage;
}

std::string Explain(const Coverage& coverage, const std::string& router, RouterRole role) {
  std::string text = absl::StrFormat("router \"%s\" (%s) was made with [%s]; served are [%s]", router, RoleName(role), coverage.bound_list,
                                     coverage.served_list);
  if (coverage.exact()) return text + ": they agree";
  if (!coverage.missing.empty()) text += "; masked until they are served: " + Join(coverage.missing);
  if (!coverage.derived.empty()) text += "; routed to by their own matrices: " + Join(coverage.derived);
  if (!coverage.unbound.empty()) text += "; reached by name only, until a router names them: " + Join(coverage.unbound);
  return text;
}

}  // namespace switchyard
