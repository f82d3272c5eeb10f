#include "engine/routing/hash_router.h"

#include <ATen/ATen.h>

#include <limits>
#include <utility>

#include "engine/routing/router_tensors.h"
#include "engine/routing/token_tables.h"

namespace switchyard {

namespace {

class HashRouter final : public Router {
 public:
  HashRouter(const SelectionRule& rule, int32_t experts, TokenTables tables) : experts_(experts), tables_(std::move(tables)) {
    rule_ = rule;
  }

  // A row without an id of the table is NaN, which selection refuses; so is one whose hidden state is not finite, as with every method.
  at::Tensor Logits(int32_t layer, const RouterInput& in) const override {
    const int64_t rows = in.x.size(0);
    at::Tensor logits = at::full({rows, experts_}, -std::numeric_limits<float>::infinity(), at::kFloat);
    float* out = logits.mutable_data_ptr<float>();
    for (int64_t row = 0; row < rows; ++row, out += experts_) {
      const int32_t expert = tables_.ExpertOf(layer, in, row);
      if (expert < 0) {
        *out = std::numeric_limits<float>::quiet_NaN();
      } else {
        out[expert] = 0;
      }
    }
    return logits.add_(in.x.sum({1}, /*keepdim=*/true, at::kFloat).mul_(0));
  }
  int64_t vocabulary() const override { return tables_.vocabulary(); }
  int32_t num_experts() const override { return experts_; }
  int32_t num_layers() const override { return tables_.num_layers(); }
  int64_t bytes() const override { return tables_.bytes(); }

 private:
  const int32_t experts_;
  const TokenTables tables_;
};

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadHashRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute&) {
  if (rule.top_k != 1) return InvalidArgument("%s: top_k: a hash router chooses 1 expert, found %d", artifact.directory, rule.top_k);
  RouterTensors tensors(artifact);
  ASSIGN_OR_RETURN(TokenTables tables, TokenTables::Read(artifact, &tensors));
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return std::make_unique<HashRouter>(rule, static_cast<int32_t>(artifact.manifest.experts.size()), std::move(tables));
}

}  // namespace switchyard
