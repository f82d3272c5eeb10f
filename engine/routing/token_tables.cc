#include "engine/routing/token_tables.h"

#include <ATen/ATen.h>

namespace switchyard {

StatusOr<TokenTables> TokenTables::Read(const RouterArtifact& artifact, RouterTensors* tensors) {
  const auto experts = static_cast<int32_t>(artifact.manifest.experts.size());
  TokenTables read;
  int64_t vocabulary = -1;  // of the first table, then of all
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(const at::Tensor table, tensors->GetIntegers(l, "table", {vocabulary}));
    vocabulary = table.size(0);
    std::vector<int16_t>& own = read.tables_.emplace_back();
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
  return read;
}

}  // namespace switchyard
