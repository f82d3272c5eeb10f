#include "server/server_options.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "engine/artifact/strict_json.h"

namespace switchyard {
namespace {
using Json = nlohmann::ordered_json;

// One key of the file: how to read it and how to print it.
struct Key {
  std::string name;
  std::function<bool(const Json&)> read;  // false: wrong type or out of range
  std::function<Json()> write;
  std::string expected;
};

Key Text(const std::string& name, std::string* value) {
  return {name,
          [=](const Json& v) {
            if (!v.is_string()) return false;
            *value = v.get<std::string>();
            return true;
          },
          [=] { return Json(*value); }, "text"};
}
Key Flag(const std::string& name, bool* value) {
  return {name,
          [=](const Json& v) {
            if (!v.is_boolean()) return false;
            *value = v.get<bool>();
            return true;
          },
          [=] { return Json(*value); }, "true or false"};
}
template <typename T>
Key Whole(const std::string& name, T* value, int64_t low, int64_t high, int64_t unit = 1) {
  return {name,
          [=](const Json& v) {
            if (!v.is_number_integer() || v.get<int64_t>() < low || v.get<int64_t>() > high) return false;
            *value = static_cast<T>(v.get<int64_t>() * unit);
            return true;
          },
          [=] { return Json(static_cast<int64_t>(*value) / unit); },
          "an integer from " + std::to_string(low) + " to " + std::to_string(high)};
}
Key Seconds(const std::string& name, double* value) {
  return {name,
          [=](const Json& v) {
            if (!v.is_number() || !(v.get<double>() >= 0 && v.get<double>() <= 86400)) return false;
            *value = v.get<double>();
            return true;
          },
          [=] { return Json(*value); }, "seconds from 0 to 86400"};
}

Key Share(const std::string& name, double* value) {
  return {name,
          [=](const Json& v) {
            if (!v.is_number() || !(v.get<double>() >= 0 && v.get<double>() <= 1)) return false;
            *value = v.get<double>();
            return true;
          },
          [=] { return Json(*value); }, "a number from 0 to 1"};
}
Key Tenants(TenantOptions* tenants) {
  return {
      "tenants",
      [=](const Json& v) {
        auto read = ParseTenantOptions(v);
        if (!read.ok()) return false;
        *tenants = *std::move(read);
        return true;
      },
      [=] { return TenantOptionsJson(*tenants); },
      "{\"metadata_key\", \"max_tenants\", \"default\": LIMIT, \"named\": {NAME: LIMIT}}, LIMIT of requests_per_second, burst_requests, "
      "concurrent_requests, tokens_per_minute, all >= 0"};
}

Key Experts(std::vector<RunnerOptions::Expert>* experts) {
  return {"experts",
          [=](const Json& v) {
            if (!v.is_array()) return false;
            std::vector<RunnerOptions::Expert> read;
            for (const Json& e : v) {
              if (!e.is_object() || !e.contains("name") || !e["name"].is_string() || e.size() > 2) return false;
              if (e.size() == 2 && (!e.contains("directory") || !e["directory"].is_string())) return false;
              read.push_back({e["name"].get<std::string>(), e.value("directory", std::string())});
            }
            *experts = std::move(read);
            return true;
          },
          [=] {
            Json list = Json::array();
            for (const auto& e : *experts) list.push_back({{"name", e.name}, {"directory", e.directory}});
            return list;
          },
          "a list of {\"name\", \"directory\"} in router order (no directory: the zero expert)"};
}

Key Policy(const std::string& name, StatePolicy* policy) {
  return {name,
          [=](const Json& v) {
            if (v != "strict" && v != "serve") return false;
            *policy = v == "serve" ? StatePolicy::kServe : StatePolicy::kStrict;
            return true;
          },
          [=] { return Json(*policy == StatePolicy::kServe ? "serve" : "strict"); }, "\"strict\" or \"serve\""};
}

std::vector<Key> Keys(ServerOptions* o) {
  return {Text("base", &o->runner.base_directory),
          Experts(&o->runner.experts),
          Text("router", &o->runner.router_directory),
          Text("dtype", &o->runner.dtype),
          Text("backend", &o->runner.backend),
          Whole("threads", &o->runner.threads, 0, 1024),
          Whole("kv_mib", &o->runner.kv_bytes, 1, 1 << 24, 1 << 20),
          Whole("kv_block_tokens", &o->runner.kv_block_tokens, 1, 1024),
          Flag("ignore_attention_lora", &o->runner.allow_attention_lora),
          Whole("max_queued_tasks", &o->engine.max_queued_tasks, 1, 1 << 20),
          Whole("max_running_tasks", &o->engine.max_running_tasks, 1, 1 << 16),
          Whole("max_step_tokens", &o->engine.max_step_tokens, 1, 1 << 16),
          Flag("prefix_cache", &o->engine.prefix_cache),
          Text("listen", &o->listen),
          Text("metrics", &o->metrics),
          Text("health", &o->health),
          Whole("workers", &o->workers, 1, 256),
          Whole("max_pending_requests", &o->max_pending_requests, 1, 1 << 20),
          Whole("max_pending_mib", &o->max_pending_mib, 1, 1 << 20),
          Whole("max_message_mib", &o->max_message_mib, 1, 1024),
          Whole("max_connection_age_seconds", &o->max_connection_age_seconds, 0, 86400),
          Whole("max_continuations", &o->limits.max_continuations, 1, 2048),
          Whole("max_prompt_text_kib", &o->limits.max_prompt_text_bytes, 1, 1 << 20, 1 << 10),
          Whole("max_score_text_mib", &o->limits.max_score_text_bytes, 1, 1 << 20, 1 << 20),
          Whole("max_stream_in_flight", &o->limits.max_stream_in_flight, 1, 65536),
          Flag("reflection", &o->reflection),
          Text("tls_certificate", &o->tls.certificate),
          Text("tls_key", &o->tls.key),
          Text("tls_client_ca", &o->tls.client_ca),
          Whole("reload_seconds", &o->tls.reload_seconds, 1, 3600),
          Text("tokens", &o->gate.tokens),
          Tenants(&o->gate.tenants),
          Seconds("max_request_seconds", &o->gate.max_request_seconds),
          Share("log_requests", &o->gate.log_requests),
          Text("admin", &o->admin),
          Text("artifact_root", &o->catalog.artifact_root),
          Text("state", &o->catalog.state_file),
          Policy("state_policy", &o->catalog.state_policy),
          Whole("artifact_memory_mib", &o->catalog.budget.memory_bytes, 0, 1 << 24, 1 << 20),
          Whole("artifact_disk_mib", &o->catalog.budget.disk_bytes, 0, 1 << 24, 1 << 20),
          Whole("max_experts", &o->catalog.budget.max_experts, 1, kMaxArtifactNames),
          Whole("max_routers", &o->catalog.budget.max_routers, 1, kMaxArtifactNames),
          Share("canary_compare_share", &o->divergence.canary_sample),
          Whole("compare_running", &o->divergence.max_running, 1, 64),
          Share("rollback_best_changed", &o->divergence.max_best_changed),
          Share("rollback_js_nats", &o->divergence.max_js_nats),
          Share("rollback_answer_flips", &o->divergence.max_answer_flips),
          Whole("rollback_min_requests", &o->divergence.min_requests, 1, 1 << 20),
          Whole("rollback_failures", &o->divergence.max_failures, 0, 1 << 20),
          Seconds("drain_seconds", &o->drain_seconds),
          Seconds("drain_delay_seconds", &o->drain_delay_seconds)};
}

}  // namespace

Status ApplyConfig(const std::string& text, const std::string& file, ServerOptions* options) {
  // The caller's own file: what is wrong with it is an argument's fault, whatever the reader calls it.
  if (const Status strict = CheckStrictJson(text, file); !strict.ok()) return InvalidArgument("%s", Message(strict));
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return InvalidArgument("%s: not valid JSON", file);
  if (!json.is_object()) return InvalidArgument("%s: expected a JSON object", file);
  const std::vector<Key> keys = Keys(options);
  for (const auto& [name, value] : json.items()) {
    const auto key = std::find_if(keys.begin(), keys.end(), [&, &key_name = name](const Key& k) { return k.name == key_name; });
    if (key == keys.end()) {
      std::string known;
      for (const Key& k : keys) known += (known.empty() ? "" : ", ") + k.name;
      return InvalidArgument("%s: unknown key \"%s\"; known keys: %s", file, name.substr(0, 100), known);
    }
    if (!key->read(value)) {
      return InvalidArgument("%s: \"%s\": expected %s, found %s", file, name, key->expected,
                             value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 100));
    }
  }
  return OkStatus();
}

std::string ConfigJson(const ServerOptions& options) {
  ServerOptions copy = options;
  Json json = Json::object();
  for (const Key& key : Keys(&copy)) json[key.name] = key.write();
  return json.dump(2);
}

Status ValidateOptions(const ServerOptions& options) {
  if (options.runner.base_directory.empty())
    return InvalidArgument("no base model: give --base DIRECTORY or \"base\" in the configuration file");
  std::set<std::string> names;
  for (const auto& expert : options.runner.experts) {
    if (expert.name.empty()) return InvalidArgument("an expert has no name; expected NAME=DIRECTORY");
    if (!names.insert(expert.name).second) return InvalidArgument("expert \"%s\" is given twice", expert.name);
  }
  for (const auto& [what, value] : {std::pair{"listen", options.listen}, std::pair{"metrics", options.metrics},
                                    std::pair{"health", options.health}, std::pair{"admin", options.admin}}) {
    if (value.empty() && what != std::string("listen")) continue;
    const size_t colon = value.rfind(':');
    const std::string port = colon == std::string::npos ? "" : value.substr(colon + 1);
    if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos || std::stoi(port) > 65535) {
      return InvalidArgument("%s: expected HOST:PORT, found \"%s\"", what, value);
    }
  }
  RETURN_IF_ERROR(ValidateTls(options.tls));
  if (!options.admin.empty()) RETURN_IF_ERROR(CheckAdminAddress("admin", options.admin, options.tls));
  for (const auto& [what, value, known] :
       {std::tuple{"dtype", options.runner.dtype, std::set<std::string>{"auto", "bf16", "f32"}},
        std::tuple{"backend", options.runner.backend, std::set<std::string>{"auto", "fast", "reference"}}}) {
    if (!known.contains(value)) return InvalidArgument("%s: unknown value \"%s\"; expected one of %s", what, value, Json(known).dump());
  }
  return OkStatus();
}

}  // namespace switchyard
