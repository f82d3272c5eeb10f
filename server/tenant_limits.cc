#include "server/tenant_limits.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace switchyard {
namespace {

constexpr char kOther[] = "(other)";                        // no tenant can be called this
constexpr std::chrono::milliseconds kConcurrencyWait{250};  // nobody knows when a running request ends

// Fills at `rate` a second up to `capacity`. A rate of 0 never empties.
struct Bucket {
  double rate = 0, capacity = 0, level = 0;
  Clock::Time last;

  Bucket(double rate_per_second, double size, Clock::Time now) : rate(rate_per_second), capacity(size), level(size), last(now) {}

  void Refill(Clock::Time now) {
    level = std::min(capacity, level + rate * std::chrono::duration<double>(now - last).count());
    last = now;
  }
  bool Holds(double amount) const { return rate == 0 || level >= amount - 1e-9; }
  void Take(double amount) {
    if (rate > 0) level -= amount;
  }
  std::chrono::milliseconds Until(double amount) const {
    return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(std::min((amount - level) / rate, 86400.0) * 1e3 - 1e-6)));
  }
};

double Burst(const TenantLimit& limit) {
  return limit.burst_requests > 0 ? std::max(1.0, limit.burst_requests) : std::max(1.0, limit.requests_per_second);
}

std::string After(std::chrono::milliseconds wait) { return "; try again in " + std::to_string(wait.count()) + " ms"; }

}  // namespace

class TenantLimits::Account {
 public:
  Account(std::string tenant, std::string label, const TenantLimit& what, Clock::Time now)
      : name(std::move(tenant)),
        usage_label(std::move(label)),
        limit(what),
        requests(what.requests_per_second, Burst(what), now),
        tokens(what.tokens_per_minute / 60, what.tokens_per_minute, now) {}

  // Whether a fresh account would be just the same.
  bool Idle(Clock::Time now) {
    requests.Refill(now);
    tokens.Refill(now);
    return running == 0 && requests.level >= requests.capacity && tokens.level >= tokens.capacity;
  }

  const std::string name, usage_label;
  const TenantLimit limit;
  Bucket requests, tokens;
  int64_t running = 0;
};

TenantLimits::TenantLimits(TenantOptions options, const Clock* clock)
    : options_(std::move(options)), clock_(clock != nullptr ? clock : Clock::Real()) {
  shared_ = std::make_shared<Account>("(further tenants together)", kOther, options_.others, clock_->Now());
  for (const auto& [name, limit] : options_.named) usage_[name].tenant = name;
  usage_[kOther].tenant = kOther;
}

TenantLimits::~TenantLimits() = default;

TenantLimits::Usage& TenantLimits::UsageOf(const Account& account) { return usage_[account.usage_label]; }

void TenantLimits::MakeRoom() {
  const Clock::Time now = clock_->Now();
  // use_count 1: no call holds it, and none can get hold of it without the lock.
  std::erase_if(accounts_, [&](const auto& entry) { return entry.second.use_count() == 1 && entry.second->Idle(now); });
}

TenantLimits::AccountRef TenantLimits::Find(const std::string& tenant) {
  std::lock_guard lock(mutex_);
  if (const auto found = accounts_.find(tenant); found != accounts_.end()) return found->second;
  const auto named = options_.named.find(tenant);
  const bool known = named != options_.named.end();
  if (accounts_.size() >= static_cast<size_t>(options_.max_tenants)) MakeRoom();
  // Those named in the configuration never share: there are few of them.
  if (!known && accounts_.size() >= static_cast<size_t>(options_.max_tenants)) return shared_;
  auto account = std::make_shared<Account>(tenant, known ? tenant : kOther, known ? named->second : options_.others, clock_->Now());
  accounts_.emplace(tenant, account);
  return account;
}

std::optional<TenantLimits::Refusal> TenantLimits::Enter(const AccountRef& account) {
  std::lock_guard lock(mutex_);
  const TenantLimit& limit = account->limit;
  if (limit.concurrent_requests > 0 && account->running >= limit.concurrent_requests) {
    ++UsageOf(*account).refused_concurrency;
    return Refusal{"tenant " + account->name + " has its " + std::to_string(limit.concurrent_requests) + " requests running already" +
                       After(kConcurrencyWait),
                   kConcurrencyWait};
  }
  ++account->running;
  ++UsageOf(*account).running;
  return std::nullopt;
}

void TenantLimits::Leave(const AccountRef& account) {
  std::lock_guard lock(mutex_);
  --account->running;
  --UsageOf(*account).running;
}

std::optional<TenantLimits::Refusal> TenantLimits::Request(const AccountRef& account) {
  std::lock_guard lock(mutex_);
  const Clock::Time now = clock_->Now();
  Usage& usage = UsageOf(*account);
  account->tokens.Refill(now);
  account->requests.Refill(now);
  if (!account->tokens.Holds(1)) {
    ++usage.refused_tokens;
    const auto wait = account->tokens.Until(1);
    return Refusal{
        absl::StrFormat("tenant %s has used its %g tokens a minute%s", account->name, account->limit.tokens_per_minute, After(wait)), wait};
  }
  if (!account->requests.Holds(1)) {
    ++usage.refused_rate;
    const auto wait = account->requests.Until(1);
    return Refusal{
        absl::StrFormat("tenant %s has sent its %g requests a second%s", account->name, account->limit.requests_per_second, After(wait)),
        wait};
  }
  account->requests.Take(1);
  ++usage.admitted;
  return std::nullopt;
}

void TenantLimits::ChargeTokens(const AccountRef& account, int64_t tokens) {
  if (tokens <= 0) return;
  std::lock_guard lock(mutex_);
  account->tokens.Refill(clock_->Now());
  account->tokens.Take(static_cast<double>(tokens));
  UsageOf(*account).tokens += static_cast<uint64_t>(tokens);
}

std::vector<TenantLimits::Usage> TenantLimits::usage() const {
  std::lock_guard lock(mutex_);
  std::vector<Usage> all;
  for (const auto& [name, usage] : usage_) all.push_back(usage);
  return all;
}

size_t TenantLimits::accounts() const {
  std::lock_guard lock(mutex_);
  return accounts_.size();
}

}  // namespace switchyard
