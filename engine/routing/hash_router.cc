#include "engine/routing/hash_router.h"

#include <ATen/ATen.h>

#include <limits>
#include <utility>
#include <vector>

#include "engine/routing/router_tensors.h"

namespace switchyard {

namespace {

class HashRouter final : public Router {
 public:
  // tables: [L] of [V].
  HashRouter(const SelectionRule& rule, int32_t experts, std::vector<std::vector<int16_t>> tables)
      : experts_(experts), tables_(std::move(tables)) {
    rule_ = rule;
  }

  // A row without an id of the table is NaN, which selection refuses; so is one whose hidden state is not finite, as with every method.
  at::Tensor Logits(int32_t layer, const RouterInput& in) const override {
    const std::vector<int16_t>& table = tables_[layer];
    const int64_t rows = in.x.size(0);
    at::Tensor logits = at::full({rows, experts_}, -std::numeric_limits<float>::infinity(), at::kFloat);
    float* out = logits.mutable_data_ptr<float>();
    for (int64_t row = 0; row < rows; ++row, out += experts_) {
      const int64_t token = row < static_cast<int64_t>(in.tokens.size()) ? in.tokens[row] : -1;
      if (token < 0 || token >= vocabulary()) {
        *out = std::numeric_limits<float>::quiet_NaN();
      } else {
        out[table[token]] = 0;
      }
    }
    return logits.add_(in.x.sum({1}, /*keepdim=*/true, at::kFloat).mul_(0));
  }
  int64_t vocabulary() const override { return static_cast<int64_t>(tables_.front().size()); }
  int32_t num_experts() const override { return experts_; }
  int32_t num_layers() const override { return static_cast<int32_t>(tables_.size()); }
  int64_t bytes() const override { return num_layers() * vocabulary() * static_cast<int64_t>(sizeof(int16_t)); }

 private:
  const int32_t experts_;
  const std::vector<std::vector<int16_t>> tables_;
};

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadHashRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute&) {
  if (rule.top_k != 1) return InvalidArgument("%s: top_k: a hash router chooses 1 expert, found %d", artifact.directory, rule.top_k);
  const auto experts = static_cast<int32_t>(artifact.manifest.experts.size());
  RouterTensors tensors(artifact);
  std::vector<std::vector<int16_t>> tables;
  int64_t vocabulary = -1;  // of the first table, then of all
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(const at::Tensor table, tensors.GetIntegers(l, "table", {vocabulary}));
    vocabulary = table.size(0);
    std::vector<int16_t>& own = tables.emplace_back();
    own.reserve(static_cast<size_t>(vocabulary));
    for (int64_t token = 0; token < vocabulary; ++token) {
      const int32_t expert = table.const_data_ptr<int32_t>()[token];
      if (expert < 0 || expert >= experts) {
        return InvalidArgument("%s: layer %d: table: token %d goes to expert %d, expected 0 to %d", artifact.directory, l, token, expert,
                               experts - 1);
      }
      own.push_back(static_cast<int16_t>(expert));
    }
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return std::make_unique<HashRouter>(rule, experts, std::move(tables));
}

}  // namespace switchyard
