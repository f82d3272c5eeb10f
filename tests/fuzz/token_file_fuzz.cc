// Any bytes as the file of tokens, and as an Authorization header. What is accepted must keep the promises of server/token_table.h, and no
// error may quote what might be a secret.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/token_table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using switchyard::TokenTable;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto token = switchyard::BearerToken(text)) {
    if (token->empty() || token->size() > TokenTable::kMaxTokenBytes) std::abort();
  }
  const auto table = TokenTable::Parse(text, "fuzz");
  if (!table.ok()) {
    if (switchyard::Message(table.status()).size() > 400) std::abort();
    return 0;
  }
  if (table->entries().size() > TokenTable::kMaxTokens) std::abort();
  for (const TokenTable::Entry& entry : table->entries()) {
    if (entry.name.empty() || entry.name.size() > 64 || entry.sha256.size() != 64 || entry.roles == 0 || entry.roles > 7 ||
        entry.tenant.empty())
      std::abort();
    if (table->Find(entry.sha256) != nullptr) std::abort();  // the hash of a hash in the file: not within reach of a fuzzer
  }
  return 0;
}
