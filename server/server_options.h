// Everything a server can be told: one JSON file, and about a dozen flags that override it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/base/status.h"
#include "engine/catalog/catalog.h"
#include "engine/runner/runner_factory.h"
#include "engine/runtime/engine.h"
#include "server/divergence_watch.h"
#include "server/gate_options.h"
#include "server/served_model.h"
#include "server/tls_options.h"

namespace switchyard {

struct ServerOptions {
  RunnerOptions runner;
  EngineOptions engine;
  RequestLimits limits;
  std::string listen = "127.0.0.1:8500";   // gRPC; port 0 picks one
  std::string metrics = "127.0.0.1:8501";  // Prometheus over HTTP; port 0 picks one; "" for none
  std::string health;                      // gRPC health alone, in plain text, for probes; port 0 picks one; "" for none
  int workers = 2;                         // threads that tokenise and build replies
  int max_pending_requests = 1024;         // requests waiting for a worker; more are refused
  int max_pending_mib = 256;               // of these, in all; more are refused
  int max_message_mib = 16;                // largest request or reply
  int max_connection_age_seconds = 0;      // a connection is told to go elsewhere after this long, its calls end in peace; 0: never
  bool reflection = true;
  TlsOptions tls;  // of the gRPC ports
  GateOptions gate;
  std::string admin;               // the admin port, loopback only; port 0 picks one; "" for none
  CatalogOptions catalog;          // artifact root, state file and its policy, budgets
  DivergenceOptions divergence;    // how rivals of the stable router are measured, and when they lose their role
  double drain_seconds = 30;       // how long accepted work may go on after SIGTERM
  double drain_delay_seconds = 0;  // health says NOT_SERVING this long before new calls are refused (endpoint removal)
};

// A command line as main gets it. An exit code when there is nothing to serve (--help, --version, --print-config: 0; an error, printed: 2).
struct ParsedCommandLine {
  ServerOptions options;
  std::optional<int> exit_code;
};
ParsedCommandLine ParseCommandLine(int argc, char** argv);

// Strict: an unknown key, a wrong type or a value out of range is INVALID_ARGUMENT naming file and key. `file` stands for the path in
// messages.
Status ApplyConfig(const std::string& json, const std::string& file, ServerOptions* options);
// The whole configuration as the file would say it.
std::string ConfigJson(const ServerOptions& options);
// What no file or flag alone can show: names, ports, budgets that do not go together.
Status ValidateOptions(const ServerOptions& options);

}  // namespace switchyard
