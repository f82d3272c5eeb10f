#include "server/authorization.h"

#include <fstream>

#include "engine/artifact/sha256.h"
#include "server/log.h"

namespace switchyard {
namespace {

constexpr size_t kMaxFileBytes = 2 << 20;
enum Reason { kMissing, kUnknown, kRole };

// Not in engine/base/status.h: only this room says who may do what.
Status Unauthenticated(const std::string& message) { return Status(absl::StatusCode::kUnauthenticated, message); }
Status PermissionDenied(const std::string& message) { return Status(absl::StatusCode::kPermissionDenied, message); }

}  // namespace

StatusOr<std::unique_ptr<Authorizer>> Authorizer::Open(const std::string& path) {
  std::unique_ptr<Authorizer> authorizer(new Authorizer(path));
  if (authorizer->enabled()) RETURN_IF_ERROR(authorizer->Load());
  return authorizer;
}

Status Authorizer::Load() {
  std::ifstream file(path_, std::ios::binary);
  if (!file) return NotFound("tokens: %s cannot be opened", path_);
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxFileBytes) return InvalidArgument("tokens: %s has more than %d bytes", path_, kMaxFileBytes);
  std::string hash = Sha256Hex(text);
  if (hash == content_hash_) return OkStatus();
  ASSIGN_OR_RETURN(TokenTable table, TokenTable::Parse(text, path_));
  auto shared = std::make_shared<const TokenTable>(std::move(table));
  content_hash_ = std::move(hash);
  std::lock_guard lock(mutex_);
  table_ = std::move(shared);
  return OkStatus();
}

bool Authorizer::Reload() {
  if (!enabled()) return false;
  const std::string before = content_hash_;
  const Status loaded = Load();
  std::string complaint = loaded.ok() ? "" : std::string(Message(loaded));
  if (complaint != last_complaint_ && !complaint.empty())
    Log(LogLevel::kError, "tokens not reloaded", {{"message", complaint}, {"note", "the tokens read before stay valid"}});
  last_complaint_ = std::move(complaint);
  if (content_hash_ == before) return false;
  Log(LogLevel::kInfo, "tokens reloaded", {{"file", path_}});
  return true;
}

StatusOr<Identity> Authorizer::Check(std::string_view header, Role role) const {
  if (!enabled()) return Identity();
  const auto token = BearerToken(header);
  if (!token) {
    ++refused_[kMissing];
    return Unauthenticated("no bearer token: this server wants the metadata or header `authorization: Bearer TOKEN`");
  }
  std::shared_ptr<const TokenTable> table;
  {
    std::lock_guard lock(mutex_);
    table = table_;
  }
  const TokenTable::Entry* entry = table->Find(*token);
  if (entry == nullptr) {
    ++refused_[kUnknown];
    return Unauthenticated("the bearer token is not known here: it was never given out, or has been withdrawn");
  }
  if (!entry->Has(role)) {
    ++refused_[kRole];
    return PermissionDenied("the token \"" + entry->name + "\" has not the role " + RoleName(role) + "; it has: " + entry->RoleNames());
  }
  return Identity{entry->name, entry->tenant};
}

std::array<uint64_t, 3> Authorizer::refused() const { return {refused_[kMissing], refused_[kUnknown], refused_[kRole]}; }

}  // namespace switchyard
