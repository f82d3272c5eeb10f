#include "server/tenant_options.h"

#include "server/plain_name.h"

namespace switchyard {
namespace {
using Json = nlohmann::ordered_json;

constexpr size_t kMaxNamed = 1000;

bool ReadNumber(const Json& json, double low, double high, double* out) {
  if (!json.is_number() || !(json.get<double>() >= low && json.get<double>() <= high)) return false;
  *out = json.get<double>();
  return true;
}

bool ReadWhole(const Json& json, int32_t low, int32_t high, int32_t* out) {
  if (!json.is_number_integer()) return false;
  double value = 0;
  if (!ReadNumber(json, low, high, &value)) return false;
  *out = static_cast<int32_t>(value);
  return true;
}

StatusOr<TenantLimit> ParseLimit(const Json& json, const std::string& where) {
  if (!json.is_object()) return InvalidArgument("%s: expected an object", where);
  TenantLimit limit;
  for (const auto& [key, value] : json.items()) {
    bool good = false;
    if (key == "requests_per_second") {
      good = ReadNumber(value, 0, 1e6, &limit.requests_per_second);
    } else if (key == "burst_requests") {
      good = ReadNumber(value, 0, 1e6, &limit.burst_requests);
    } else if (key == "concurrent_requests") {
      good = ReadWhole(value, 0, 1000000, &limit.concurrent_requests);
    } else if (key == "tokens_per_minute") {
      good = ReadNumber(value, 0, 1e12, &limit.tokens_per_minute);
    } else {
      return InvalidArgument(
          "%s: unknown key \"%s\"; known keys: requests_per_second, burst_requests, concurrent_requests, tokens_per_minute", where,
          key.substr(0, 100));
    }
    if (!good) return InvalidArgument("%s: %s: expected a number from 0 on, concurrent_requests a whole one", where, key);
  }
  return limit;
}

Json LimitJson(const TenantLimit& limit) {
  Json json = Json::object();
  if (limit.requests_per_second != 0) json["requests_per_second"] = limit.requests_per_second;
  if (limit.burst_requests != 0) json["burst_requests"] = limit.burst_requests;
  if (limit.concurrent_requests != 0) json["concurrent_requests"] = limit.concurrent_requests;
  if (limit.tokens_per_minute != 0) json["tokens_per_minute"] = limit.tokens_per_minute;
  return json;
}

// What gRPC accepts as the name of a text header.
bool IsMetadataKey(const std::string& key) {
  return !key.empty() && key.size() <= 64 && key.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") == std::string::npos &&
         !key.ends_with("-bin");
}

Status ParseNamed(const Json& json, std::map<std::string, TenantLimit>* named) {
  if (!json.is_object() || json.size() > kMaxNamed) return InvalidArgument("named: expected an object of at most %d tenants", kMaxNamed);
  for (const auto& [name, value] : json.items()) {
    if (!IsPlainName(name)) return InvalidArgument("named: expected names of 1 to 64 letters, digits, \".\", \"_\" and \"-\"");
    ASSIGN_OR_RETURN((*named)[name], ParseLimit(value, "named: " + name));
  }
  return OkStatus();
}

}  // namespace

StatusOr<TenantOptions> ParseTenantOptions(const Json& json) {
  if (!json.is_object()) return InvalidArgument("expected an object");
  TenantOptions options;
  for (const auto& [key, value] : json.items()) {
    if (key == "metadata_key") {
      if (!value.is_string() || !IsMetadataKey(value.get<std::string>()))
        return InvalidArgument("metadata_key: expected 1 to 64 lower-case letters, digits, \"-\", \"_\" and \".\", not ending in -bin");
      options.metadata_key = value.get<std::string>();
    } else if (key == "max_tenants") {
      if (!ReadWhole(value, 1, 100000, &options.max_tenants)) return InvalidArgument("max_tenants: expected an integer from 1 to 100000");
    } else if (key == "default") {
      ASSIGN_OR_RETURN(options.others, ParseLimit(value, "default"));
    } else if (key == "named") {
      RETURN_IF_ERROR(ParseNamed(value, &options.named));
    } else {
      return InvalidArgument("unknown key \"%s\"; known keys: metadata_key, max_tenants, default, named", key.substr(0, 100));
    }
  }
  return options;
}

Json TenantOptionsJson(const TenantOptions& options) {
  const TenantOptions defaults;
  Json json = Json::object();
  if (options.metadata_key != defaults.metadata_key) json["metadata_key"] = options.metadata_key;
  if (options.max_tenants != defaults.max_tenants) json["max_tenants"] = options.max_tenants;
  if (options.others != TenantLimit()) json["default"] = LimitJson(options.others);
  if (!options.named.empty()) json["named"] = Json::object();
  for (const auto& [name, limit] : options.named) json["named"][name] = LimitJson(limit);
  return json;
}

}  // namespace switchyard
