// What each tenant may use at most, as the configuration's "tenants" says it.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/status.h"

namespace switchyard {

// 0 is no limit.
struct TenantLimit {
  double requests_per_second = 0;   // a question of a ScoreStream counts as a request
  double burst_requests = 0;        // how many may come at once after a pause; 0: as many as come in a second, at least one
  int32_t concurrent_requests = 0;  // calls at once; a stream is one
  double tokens_per_minute = 0;     // prompt and generated tokens, counted when a request ends

  friend bool operator==(const TenantLimit&, const TenantLimit&) = default;
};

struct TenantOptions {
  std::string metadata_key = "switchyard-tenant";  // where a caller says whom it calls for, when its token does not
  int32_t max_tenants = 1000;                      // kept apart at once; when all are busy, further ones share one account
  TenantLimit others;                              // of every tenant without an entry
  std::map<std::string, TenantLimit> named;
};

// From and to the value of "tenants":
//   {"metadata_key": KEY, "max_tenants": N, "default": LIMIT, "named": {TENANT: LIMIT}}, LIMIT = {"requests_per_second": R, ...}
// Strict: INVALID_ARGUMENT naming the key. What is at its default is not written.
StatusOr<TenantOptions> ParseTenantOptions(const nlohmann::ordered_json& json);
nlohmann::ordered_json TenantOptionsJson(const TenantOptions& options);

}  // namespace switchyard
