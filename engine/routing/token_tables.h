// Tables from token id to expert, one a layer: what routers look up that do not ask where a token stands.
// Tensor: layers.{l}.router.table [V] I32, each entry an expert's position.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/artifact/router_artifact.h"
#include "engine/base/status.h"
#include "engine/routing/router_input.h"
#include "engine/routing/router_tensors.h"

namespace switchyard {

class TokenTables {
 public:
  // INVALID_ARGUMENT names a table of another length than the first, or an entry that is no expert.
  static StatusOr<TokenTables> Read(const RouterArtifact& artifact, RouterTensors* tensors);

  // The expert of a row's token, -1 when its id is not known or not in the table.
  int32_t ExpertOf(int32_t layer, const RouterInput& in, int64_t row) const {
    const int64_t token = row < static_cast<int64_t>(in.tokens.size()) ? in.tokens[row] : -1;
    return token < 0 || token >= vocabulary() ? -1 : tables_[layer][token];
  }
  int64_t vocabulary() const { return static_cast<int64_t>(tables_.front().size()); }
  int32_t num_layers() const { return static_cast<int32_t>(tables_.size()); }
  int64_t bytes() const { return num_layers() * vocabulary() * static_cast<int64_t>(sizeof(int16_t)); }

 private:
  std::vector<std::vector<int16_t>> tables_;  // [L] of [V]
};

}  // namespace switchyard
