// Who is calling and whether they may: bearer tokens against a file that may change while the server runs.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "engine/base/status.h"
#include "server/token_table.h"

namespace switchyard {

// What a valid token says about its bearer. Without a token file everybody is nobody: empty, and "*" as tenant.
struct Identity {
  std::string name;
  std::string tenant = "*";
};

// Thread-safe. Keeps no token, only the file's hashes.
class Authorizer {
 public:
  // `path` "": everybody may do everything. NOT_FOUND or INVALID_ARGUMENT when the file cannot be used. Blocks on reading.
  static StatusOr<std::unique_ptr<Authorizer>> Open(const std::string& path);

  bool enabled() const { return !path_.empty(); }

  // `header` is the call's Authorization header, "" when it has none. UNAUTHENTICATED without a valid token, PERMISSION_DENIED when the
  // token lacks the role; messages never hold the token.
  StatusOr<Identity> Check(std::string_view header, Role role) const;

  // Reads the file again; true when it has changed and holds from now on. One that cannot be used changes nothing: the old tokens stay
  // valid, and the log says why, once for each reason. For one thread at a time. Blocks on reading.
  bool Reload();

  // Refused calls since start, by reason.
  static constexpr std::array<const char*, 3> kReasons = {"missing", "unknown", "role"};
  std::array<uint64_t, 3> refused() const;

 private:
  explicit Authorizer(std::string path) : path_(std::move(path)) {}
  Status Load();

  const std::string path_;
  std::string content_hash_, last_complaint_;  // used by Reload only
  mutable std::array<std::atomic<uint64_t>, 3> refused_{};
  mutable std::mutex mutex_;
  std::shared_ptr<const TokenTable> table_;  // guarded by mutex_
};

}  // namespace switchyard
