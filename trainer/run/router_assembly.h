// A router artifact put together tensor by tensor, in memory: the engine routes with it before anything is written.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/artifact/router_artifact.h"
#include "engine/base/status.h"
#include "engine/routing/router.h"

namespace switchyard::trainer {

class RouterAssembly {
 public:
  // Of `manifest`, without tensors.
  explicit RouterAssembly(RouterManifest manifest) : manifest_(std::move(manifest)) {}
  // What an artifact holds, but for its probes: their routes end when an expert joins.
  static StatusOr<RouterAssembly> From(const RouterArtifact& artifact);

  RouterManifest& manifest() { return manifest_; }
  const RouterManifest& manifest() const { return manifest_; }
  // `layers.{layer}.router.{name}`
  void Set(int32_t layer, const std::string& name, const at::Tensor& value);
  const at::Tensor* Find(int32_t layer, const std::string& name) const;  // null when absent

  // As ReadRouterArtifact gives it once written, without directory and generation.
  RouterArtifact Artifact() const;
  // The engine's router of it. `compute` outlives the result.
  StatusOr<std::unique_ptr<Router>> Route(const Compute& compute) const { return LoadRouter(Artifact(), compute); }
  // Golden probes: of `rows` ([L] of [N, H] f32) some of clear margin in each layer, with the routes they take. None when a layer has no
  // clear row.
  Status SetProbes(const std::vector<at::Tensor>& rows, const Compute& compute);
  // Errors are those of WriteRouterArtifact.
  Status Write(const std::string& directory) const;

 private:
  RouterManifest manifest_;
  std::map<std::string, at::Tensor> tensors_;  // by full name
};

// The rows of clearest margin, at most four; fewer when fewer are clear: what a probe shows must not hang on the rounding of another
// machine.
std::vector<int64_t> ClearRows(const LayerRoutes& routes);

}  // namespace switchyard::trainer
