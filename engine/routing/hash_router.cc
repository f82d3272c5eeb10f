#include "engine/routing/hash_router.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/routing/router_tensors.h"
#include "engine/routing/token_tables.h"

namespace switchyard {

namespace {

// Four sums, so that an addition does not wait for the one before it: 0 unless a value is NaN or infinite.
bool AllFinite(const float* values, int64_t size) {
  float sum[4] = {};
  int64_t i = 0;
  for (; i + 4 <= size; i += 4) {
    for (int64_t j = 0; j < 4; ++j) sum[j] += values[i + j] * 0.0f;
  }
  for (; i < size; ++i) sum[0] += values[i] * 0.0f;
  return sum[0] + sum[1] + sum[2] + sum[3] == 0;
}

class HashRouter final : public Router {
 public:
  HashRouter(const SelectionRule& rule, int32_t experts, TokenTables tables) : experts_(experts), tables_(std::move(tables)) {
    rule_ = rule;
  }

  // A row without an id of the table is NaN, which selection refuses; so is one whose hidden state is not finite, as with every method.
  at::Tensor Logits(int32_t layer, const RouterInput& in) const override {
    const at::Tensor x = in.x.to(at::kFloat).contiguous();
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor logits = at::empty({rows, experts_}, at::kFloat);
    const float* from = x.const_data_ptr<float>();
    float* out = logits.mutable_data_ptr<float>();
    for (int64_t row = 0; row < rows; ++row, from += width, out += experts_) {
      std::fill_n(out, experts_, -std::numeric_limits<float>::infinity());
      const int32_t expert = tables_.ExpertOf(layer, in, row);
      if (expert < 0 || !AllFinite(from, width)) {
        *out = std::numeric_limits<float>::quiet_NaN();
      } else {
        out[expert] = 0;
      }
    }
    return logits;
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
