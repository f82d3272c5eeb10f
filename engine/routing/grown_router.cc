// A router beside one derived from it: the columns of both.
#include <ATen/ATen.h>

#include <utility>

#include "engine/routing/router.h"

namespace switchyard {

namespace {

class GrownRouter final : public Router {
 public:
  GrownRouter(std::shared_ptr<const Router> first, std::unique_ptr<const Router> more) : first_(std::move(first)), more_(std::move(more)) {
    rule_ = first_->rule();
  }
  at::Tensor Logits(int32_t layer, const RouterInput& in) const override {
    return at::cat({first_->Logits(layer, in), more_->Logits(layer, in)}, 1);
  }
  int64_t vocabulary() const override { return first_->vocabulary(); }
  int32_t num_experts() const override { return first_->num_experts() + more_->num_experts(); }
  int32_t num_layers() const override { return first_->num_layers(); }
  int64_t bytes() const override { return first_->bytes() + more_->bytes(); }
  bool derives() const override { return first_->derives(); }
  StatusOr<std::unique_ptr<Router>> Derive(const std::vector<ExpertGates>& experts) const override { return first_->Derive(experts); }

 private:
  const std::shared_ptr<const Router> first_;
  const std::unique_ptr<const Router> more_;
};

}  // namespace

StatusOr<std::unique_ptr<Router>> Router::Derive(const std::vector<ExpertGates>&) const {
  return Unimplemented("this router scores only the experts it was made with");
}

StatusOr<std::unique_ptr<Router>> WithExperts(std::shared_ptr<const Router> router, const std::vector<ExpertGates>& experts) {
  ASSIGN_OR_RETURN(std::unique_ptr<const Router> more, router->Derive(experts));
  return std::make_unique<GrownRouter>(std::move(router), std::move(more));
}

}  // namespace switchyard
