#include "engine/runner/snapshot_identity.h"

#include <openssl/sha.h>

#include "absl/strings/str_format.h"

namespace switchyard {

std::string SnapshotGeneration(const SnapshotInfo& info, const SelectionRule* rule) {
  std::string text = absl::StrFormat("switchyard snapshot 1\nbase %s\n", info.base_generation);
  for (const SnapshotInfo::Expert& expert : info.experts) absl::StrAppendFormat(&text, "expert %s\n", expert.generation);
  absl::StrAppendFormat(&text, "router %s\n", info.router_generation);
  if (rule != nullptr) {
    absl::StrAppendFormat(&text, "top_k %d weights %d bf16 %d\n", rule->top_k, static_cast<int>(rule->weight_mode), rule->round_probabilities_bf16);
  }
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  std::string hex;
  for (const unsigned char byte : digest) absl::StrAppendFormat(&hex, "%02x", byte);
  return hex;
}

}  // namespace switchyard
