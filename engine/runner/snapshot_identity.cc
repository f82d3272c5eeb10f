#include "engine/runner/snapshot_identity.h"

#include "absl/strings/str_format.h"
#include "engine/artifact/sha256.h"

namespace switchyard {

std::string SnapshotGeneration(const SnapshotInfo& info, const SelectionRule* rule) {
  std::string text = absl::StrFormat("switchyard snapshot 1\nbase %s\n", info.base_generation);
  for (const SnapshotInfo::Expert& expert : info.experts) absl::StrAppendFormat(&text, "expert %s\n", expert.generation);
  absl::StrAppendFormat(&text, "router %s\n", info.router_generation);
  if (rule != nullptr) {
    absl::StrAppendFormat(&text, "top_k %d weights %d bf16 %d\n", rule->top_k, static_cast<int>(rule->weight_mode),
                          rule->round_probabilities_bf16);
  }
  return Sha256Hex(text);
}

}  // namespace switchyard
