// How much each tenant uses, against what it may: requests a second, requests at once, tokens a minute.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/clock.h"
#include "server/tenant_options.h"

namespace switchyard {

// Thread-safe; a call costs a lock and a look-up. Holds at most max_tenants accounts: idle ones make room for new ones, and when none is
// idle, further tenants share one account.
class TenantLimits {
 public:
  struct Refusal {
    std::string message;  // names the tenant and the limit, and when to come back
    std::chrono::milliseconds retry_after;
  };
  class Account;
  using AccountRef = std::shared_ptr<Account>;

  // `clock` null: the real one; else it must outlive this.
  TenantLimits(TenantOptions options, const Clock* clock);
  ~TenantLimits();

  // The tenant's account, made when there is none yet. Never null.
  AccountRef Find(const std::string& tenant);
  // A call begins: one more at once until Leave. With a refusal nothing is counted and Leave must not follow.
  std::optional<Refusal> Enter(const AccountRef& account);
  void Leave(const AccountRef& account);
  // A request inside a call that has entered: one of the rate, when the tokens used so far allow it.
  std::optional<Refusal> Request(const AccountRef& account);
  // What a request turned out to use. The account may go below zero: it has to recover before the next request.
  void ChargeTokens(const AccountRef& account, int64_t tokens);

  // Since start, for each tenant named in the options and "(other)" for all the rest: bounded however many names callers invent.
  struct Usage {
    std::string tenant;
    uint64_t admitted = 0, refused_rate = 0, refused_concurrency = 0, refused_tokens = 0, tokens = 0;
    int64_t running = 0;
  };
  std::vector<Usage> usage() const;
  size_t accounts() const;

  const TenantOptions& options() const { return options_; }

 private:
  Usage& UsageOf(const Account& account);  // REQUIRES mutex_
  void MakeRoom();                         // REQUIRES mutex_

  const TenantOptions options_;
  const Clock* const clock_;
  mutable std::mutex mutex_;  // guards what follows and every account's fields
  std::map<std::string, AccountRef> accounts_;
  AccountRef shared_;
  std::map<std::string, Usage> usage_;
};

}  // namespace switchyard
