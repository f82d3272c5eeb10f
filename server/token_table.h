// The file of bearer tokens: who may do what. It holds hashes, never tokens.
//
//   {"tokens": [{"name": "alice", "sha256": "<64 hex digits>", "roles": ["infer"], "tenant": "team-a"}]}
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

enum class Role : unsigned { kInfer = 1, kAdmin = 2, kMetrics = 4 };
const char* RoleName(Role role);

// Immutable, so shared freely between threads.
class TokenTable {
 public:
  static constexpr size_t kMaxTokens = 4096;
  static constexpr size_t kMinTokenBytes = 20, kMaxTokenBytes = 1024;

  struct Entry {
    std::string name;
    std::string sha256;  // of the token, 64 lower-case hex digits
    unsigned roles = 0;  // sum of Role
    std::string tenant;  // whose limits count: the name unless the file says otherwise; "*": the caller's metadata says
    bool Has(Role role) const { return (roles & static_cast<unsigned>(role)) != 0; }
    std::string RoleNames() const;
  };

  // Strict: an unknown or repeated key, a wrong type, a name or hash given twice, no role or an unknown one, more than kMaxTokens entries
  // are INVALID_ARGUMENT naming `where` and the entry.
  static StatusOr<TokenTable> Parse(const std::string& json, const std::string& where);

  // The entry of this token, or null. Looks at every entry whatever it finds, each compared in constant time: how long it takes tells
  // nothing about the tokens. Cost: one SHA-256 and 64 bytes an entry.
  const Entry* Find(std::string_view token) const;
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

// The token of an Authorization header, "Bearer TOKEN" (the scheme in any case); nothing when it is no such header.
std::optional<std::string_view> BearerToken(std::string_view header);

// The line of the file for a token, with the role infer. INVALID_ARGUMENT when the name is not 1 to 64 of [A-Za-z0-9._-] or the token is
// not kMinTokenBytes to kMaxTokenBytes of printable ASCII without blanks: what can be guessed is no secret, hashed or not.
StatusOr<std::string> MakeTokenEntry(const std::string& name, const std::string& token);

}  // namespace switchyard
