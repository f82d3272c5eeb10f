#include <CLI/CLI.hpp>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include "server/server_options.h"
#include "server/token_table.h"
#include "server/version.h"

namespace switchyard {
namespace {

int Fail(const Status& status) {
  std::fprintf(stderr, "switchyard-server: %s\n", std::string(Message(status)).c_str());
  return 2;
}

StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("%s: cannot be opened", path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// --hash-token: the token goes through standard input, for other users see command lines.
int PrintTokenEntry(const std::string& name) {
  std::string token;
  std::getline(std::cin, token);
  if (!token.empty() && token.back() == '\r') token.pop_back();
  const auto entry = MakeTokenEntry(name, token);
  if (!entry.ok()) return Fail(Annotate(entry.status(), "--hash-token"));
  std::printf("%s\n", entry->c_str());
  return 0;
}

}  // namespace

ParsedCommandLine ParseCommandLine(int argc, char** argv) {
  ParsedCommandLine parsed;
  ServerOptions flags;  // what the flags say; only those that are given count
  std::string config_path, zero, hash_name;
  std::vector<std::string> experts;
  bool print_config = false;
  int64_t kv_mib = 0;

  CLI::App app{"Serves one language model as a mixture of LoRA experts over gRPC.\nEvery setting: --print-config, docs/operations.md."};
  app.set_version_flag("--version", kServerVersion);
  app.add_option("--config", config_path, "JSON configuration file; flags override it");
  auto* base = app.add_option("--base", flags.runner.base_directory, "base model: a Hugging Face directory");
  auto* expert = app.add_option("--expert", experts, "NAME=DIRECTORY of a PEFT LoRA; repeat in router order");
  auto* zero_flag = app.add_option("--zero", zero, "name of the zero expert; it comes after the others");
  auto* router = app.add_option("--router", flags.runner.router_directory, "router artifact directory");
  auto* listen = app.add_option("--listen", flags.listen, "gRPC address HOST:PORT, port 0 picks one [127.0.0.1:8500]");
  auto* metrics = app.add_option("--metrics", flags.metrics, "Prometheus address HOST:PORT, \"\" for none [127.0.0.1:8501]");
  auto* health = app.add_option("--health", flags.health, "address of gRPC health in plain text, for probes; \"\" for none [none]");
  auto* dtype = app.add_option("--dtype", flags.runner.dtype, "auto, bf16 or f32 [auto]");
  auto* backend = app.add_option("--backend", flags.runner.backend, "auto, fast or reference [auto]");
  auto* threads = app.add_option("--threads", flags.runner.threads, "compute threads, 0 for one a core [0]")->check(CLI::Range(0, 1024));
  auto* kv = app.add_option("--kv-mib", kv_mib, "KV cache budget [512]")->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  auto* queue = app.add_option("--max-queue", flags.engine.max_queued_tasks, "waiting tasks before RESOURCE_EXHAUSTED [64]")
                    ->check(CLI::Range(1, 1 << 20));
  auto* drain = app.add_option("--drain-seconds", flags.drain_seconds, "time for accepted work after SIGTERM [30]")
                    ->check(CLI::Range(0.0, 86400.0))
                    ->check(CLI::Validator(  // a range takes "nan" for inside
                        [](std::string& text) {
                          return text.find_first_of("nN") == std::string::npos ? "" : "expected a number of seconds, found " + text;
                        },
                        ""));
  auto* tls_certificate = app.add_option("--tls-certificate", flags.tls.certificate, "PEM certificate chain: gRPC speaks TLS");
  auto* tls_key = app.add_option("--tls-key", flags.tls.key, "PEM private key of the certificate");
  auto* tls_client_ca = app.add_option("--tls-client-ca", flags.tls.client_ca, "PEM roots of clients: mutual TLS");
  auto* tokens =
      app.add_option("--tokens", flags.gate.tokens, "JSON file of bearer tokens (docs/security.md); \"\": everybody may do everything");
  auto* hash_token =
      app.add_option("--hash-token", hash_name, "read a token from standard input, print NAME's entry for --tokens, and exit")
          ->type_name("NAME");
  std::string state_policy = "strict";
  auto* admin = app.add_option("--admin", flags.admin, "admin address on loopback HOST:PORT, port 0 picks one; \"\" for none [none]");
  auto* root = app.add_option("--artifact-root", flags.catalog.artifact_root, "where the admin port may load from");
  auto* state =
      app.add_option("--state", flags.catalog.state_file, "file of the desired state; wins over --expert and --router when it is there");
  auto* policy = app.add_option("--state-policy", state_policy,
                                "when the state names what no longer loads: strict ends the start, serve goes on [strict]")
                     ->check(CLI::IsMember({"strict", "serve"}));
  app.add_flag("--print-config", print_config, "print the effective configuration and exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.exit_code = app.exit(error) == 0 ? 0 : 2;
    return parsed;
  }

  if (*hash_token) {
    parsed.exit_code = PrintTokenEntry(hash_name);
    return parsed;
  }
  ServerOptions& o = parsed.options;
  if (!config_path.empty()) {
    const auto text = ReadText(config_path);
    const Status status = text.ok() ? ApplyConfig(*text, config_path, &o) : text.status();
    if (!status.ok()) {
      parsed.exit_code = Fail(status);
      return parsed;
    }
  }
  if (*base) o.runner.base_directory = flags.runner.base_directory;
  if (*router) o.runner.router_directory = flags.runner.router_directory;
  if (*listen) o.listen = flags.listen;
  if (*metrics) o.metrics = flags.metrics;
  if (*health) o.health = flags.health;
  if (*dtype) o.runner.dtype = flags.runner.dtype;
  if (*backend) o.runner.backend = flags.runner.backend;
  if (*threads) o.runner.threads = flags.runner.threads;
  if (*kv) o.runner.kv_bytes = kv_mib << 20;
  if (*queue) o.engine.max_queued_tasks = flags.engine.max_queued_tasks;
  if (*drain) o.drain_seconds = flags.drain_seconds;
  if (*tokens) o.gate.tokens = flags.gate.tokens;
  if (*tls_certificate) o.tls.certificate = flags.tls.certificate;
  if (*tls_key) o.tls.key = flags.tls.key;
  if (*tls_client_ca) o.tls.client_ca = flags.tls.client_ca;
  if (*admin) o.admin = flags.admin;
  if (*root) o.catalog.artifact_root = flags.catalog.artifact_root;
  if (*state) o.catalog.state_file = flags.catalog.state_file;
  if (*policy) o.catalog.state_policy = state_policy == "serve" ? StatePolicy::kServe : StatePolicy::kStrict;
  if (*expert || *zero_flag) {
    o.runner.experts.clear();
    for (const std::string& text : experts) {
      const size_t equals = text.find('=');
      if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
        parsed.exit_code = Fail(InvalidArgument("--expert: expected NAME=DIRECTORY, found \"%s\"", text));
        return parsed;
      }
      o.runner.experts.push_back({text.substr(0, equals), text.substr(equals + 1)});
    }
    if (*zero_flag) o.runner.experts.push_back({zero, ""});
  }
  if (print_config) {
    std::printf("%s\n", ConfigJson(o).c_str());
    parsed.exit_code = 0;
    return parsed;
  }
  if (const Status status = ValidateOptions(o); !status.ok()) parsed.exit_code = Fail(status);
  return parsed;
}

}  // namespace switchyard
