// The engine's router under the trainer's face.
#include <ATen/ATen.h>

#include <utility>

#include "engine/routing/router.h"
#include "engine/tensor/compute.h"
#include "trainer/nn/router_module.h"

namespace switchyard::trainer {

namespace {

class ServedRouter final : public RouterModule {
 public:
  ServedRouter(const RouterOptions& options, const RouterArtifact& artifact, std::unique_ptr<const Compute> compute,
               std::unique_ptr<const Router> router)
      : RouterModule(options, router->num_layers(), router->num_experts()),
        artifact_(artifact),
        compute_(std::move(compute)),
        router_(std::move(router)) {}

  std::vector<Parameter> LayerParameters(int32_t) const override { return {}; }
  std::vector<TensorView> Tensors(int32_t layer) const override {
    std::vector<TensorView> views;
    const std::string prefix = absl::StrFormat("layers.%d.router.", layer);
    for (const auto& [name, view] : artifact_.tensors->tensors()) {
      if (name.starts_with(prefix)) views.push_back(view);
    }
    return views;
  }

 protected:
  std::span<const float> SelectionBias(int32_t layer) const override { return router_->SelectionBias(layer); }
  std::span<const float> SelectionFloor(int32_t layer) const override { return router_->SelectionFloor(layer); }
  at::Tensor Logits(int32_t layer, const RouterInput& in, at::Generator*) const override {
    return router_->Logits(layer, {in.x.detach(), in.tokens});
  }

 private:
  const RouterArtifact artifact_;
  const std::unique_ptr<const Compute> compute_;  // the router points at it
  const std::unique_ptr<const Router> router_;
};

}  // namespace

StatusOr<std::unique_ptr<RouterModule>> MakeServed(const RouterArtifact& artifact, const RouterOptions& options) {
  auto compute = std::make_unique<const Compute>(Compute{Backend::kReference, at::kFloat, nullptr});
  ASSIGN_OR_RETURN(std::unique_ptr<const Router> router, LoadRouter(artifact, *compute));
  return std::make_unique<ServedRouter>(options, artifact, std::move(compute), std::move(router));
}

}  // namespace switchyard::trainer
