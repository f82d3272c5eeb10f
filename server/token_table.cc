#include "server/token_table.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/artifact/sha256.h"
#include "engine/artifact/strict_json.h"
#include "server/plain_name.h"

namespace switchyard {
namespace {
using Json = nlohmann::ordered_json;

constexpr Role kRoles[] = {Role::kInfer, Role::kAdmin, Role::kMetrics};

bool IsHexHash(const std::string& text) { return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos; }

StatusOr<unsigned> ParseRoles(const Json& json, const std::string& where) {
  unsigned roles = 0;
  if (json.is_array()) {
    for (const Json& name : json) {
      const auto role = std::find_if(std::begin(kRoles), std::end(kRoles), [&](Role r) { return name == RoleName(r); });
      if (role == std::end(kRoles)) return InvalidArgument("%s: roles: expected infer, admin and metrics, found another", where);
      roles |= static_cast<unsigned>(*role);
    }
  }
  if (roles == 0) return InvalidArgument("%s: roles: expected a list of at least one of infer, admin and metrics", where);
  return roles;
}

// No message quotes a hash or an unknown value: what stands in the wrong place may be the token itself.
StatusOr<TokenTable::Entry> ParseEntry(const Json& json, const std::string& where) {
  if (!json.is_object()) return InvalidArgument("%s: expected an object", where);
  TokenTable::Entry entry;
  for (const auto& [key, value] : json.items()) {
    if (key == "roles") {
      ASSIGN_OR_RETURN(entry.roles, ParseRoles(value, where));
      continue;
    }
    std::string* text = key == "name" ? &entry.name : key == "sha256" ? &entry.sha256 : key == "tenant" ? &entry.tenant : nullptr;
    if (text == nullptr) return InvalidArgument("%s: unknown key; known keys: name, sha256, roles, tenant", where);
    if (!value.is_string()) return InvalidArgument("%s: %s: expected text", where, key);
    *text = value.get<std::string>();
  }
  if (!IsPlainName(entry.name)) return InvalidArgument("%s: name: expected 1 to 64 of letters, digits, \".\", \"_\" and \"-\"", where);
  const std::string named = where + " (" + entry.name + ")";
  if (!IsHexHash(entry.sha256))
    return InvalidArgument("%s: sha256: expected the token's SHA-256 in 64 lower-case hex digits (switchyard-server --hash-token)", named);
  if (entry.roles == 0) return InvalidArgument("%s: roles is missing", named);
  if (entry.tenant.empty()) entry.tenant = entry.name;
  if (entry.tenant != "*" && !IsPlainName(entry.tenant))
    return InvalidArgument("%s: tenant: expected \"*\" or 1 to 64 of letters, digits, \".\", \"_\" and \"-\"", named);
  return entry;
}

}  // namespace

const char* RoleName(Role role) { return role == Role::kInfer ? "infer" : role == Role::kAdmin ? "admin" : "metrics"; }

std::string TokenTable::Entry::RoleNames() const {
  std::string names;
  for (const Role role : kRoles) {
    if (Has(role)) names += (names.empty() ? "" : ", ") + std::string(RoleName(role));
  }
  return names;
}

StatusOr<TokenTable> TokenTable::Parse(const std::string& text, const std::string& where) {
  // The strict reader may quote a key, which in a confused file may be a secret: only that it failed is said.
  const Json json = CheckStrictJson(text, where).ok() ? Json::parse(text, nullptr, false) : Json(Json::value_t::discarded);
  if (json.is_discarded()) return InvalidArgument("%s: not valid JSON, or a key is given twice", where);
  if (!json.is_object() || json.size() != 1 || !json.contains("tokens") || !json["tokens"].is_array())
    return InvalidArgument("%s: expected an object with one key, \"tokens\", a list", where);
  if (json["tokens"].size() > kMaxTokens)
    return InvalidArgument("%s: expected at most %d tokens, found %d", where, kMaxTokens, json["tokens"].size());
  TokenTable table;
  std::set<std::string> names, hashes;
  for (const Json& one : json["tokens"]) {
    ASSIGN_OR_RETURN(Entry entry, ParseEntry(one, where + ": tokens[" + std::to_string(table.entries_.size()) + "]"));
    if (!names.insert(entry.name).second) return InvalidArgument("%s: the name %s is given twice", where, entry.name);
    if (!hashes.insert(entry.sha256).second) return InvalidArgument("%s: the token of %s is given twice", where, entry.name);
    table.entries_.push_back(std::move(entry));
  }
  return table;
}

const TokenTable::Entry* TokenTable::Find(std::string_view token) const {
  const std::string hash = Sha256Hex(token);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    if (CRYPTO_memcmp(entry.sha256.data(), hash.data(), hash.size()) == 0) found = &entry;
  }
  return found;
}

std::optional<std::string_view> BearerToken(std::string_view header) {
  constexpr std::string_view kScheme = "bearer ";
  if (header.size() <= kScheme.size() || header.size() > TokenTable::kMaxTokenBytes + kScheme.size()) return std::nullopt;
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = header[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != kScheme[i]) return std::nullopt;
  }
  return header.substr(kScheme.size());
}

StatusOr<std::string> MakeTokenEntry(const std::string& name, const std::string& token) {
  if (!IsPlainName(name)) return InvalidArgument("name: expected 1 to 64 of letters, digits, \".\", \"_\" and \"-\"");
  if (token.size() < TokenTable::kMinTokenBytes || token.size() > TokenTable::kMaxTokenBytes ||
      !std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; })) {
    return InvalidArgument(
        "expected a token of %d to %d printable characters without blanks on standard input; `openssl rand -hex 32` makes one",
        TokenTable::kMinTokenBytes, TokenTable::kMaxTokenBytes);
  }
  return Json({{"name", name}, {"sha256", Sha256Hex(token)}, {"roles", {"infer"}}}).dump();
}

}  // namespace switchyard
