#include "client/flags.h"

#include <algorithm>
#include <iterator>

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/str_format.h"
#include "client/routing_option.h"
#include "client/secrets.h"
#include "engine/mcq/utf8.h"

namespace switchyard::client {

namespace {

// An option that names a file and keeps what is in it.
CLI::Option* AddFile(CLI::App& app, const std::string& name, StatusOr<std::string> (*read)(const std::string&), std::string* content,
                     const std::string& help, const std::string& environment) {
  return app
      .add_option_function<std::string>(
          name,
          [name, read, content](const std::string& path) {
            StatusOr<std::string> text = read(path);
            if (!text.ok()) throw CLI::ValidationError(name, std::string(Message(text.status())));
            *content = *std::move(text);
          },
          help)
      ->envname(environment)
      ->type_name("FILE")
      ->group("Connection");
}

bool IsHeaderText(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

void AddConnectionFlags(CLI::App& app, ConnectionOptions* options) {
  const std::string group = "Connection";
  app.add_option("--server", options->server, "Inference port of the server")
      ->envname("SWITCHYARD_SERVER")
      ->check(CLI::Validator([](std::string& text) { return text.empty() ? "expected HOST:PORT, found nothing" : std::string(); }, ""))
      ->type_name("HOST:PORT")
      ->capture_default_str()
      ->group(group);
  app.add_option("--timeout", options->timeout_s, "Give up on a call after this long")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.001, 1e6).description(""))
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-message-mib", options->max_message_mib, "Largest reply accepted")
      ->type_name("MIB")
      ->check(CLI::Range(1, 2047).description(""))
      ->capture_default_str()
      ->group(group);
  AddSecretFlags(app, options);
  app.add_option("--tenant", options->tenant, "Whose limits count, where the token does not say it")
      ->envname("SWITCHYARD_TENANT")
      ->type_name("NAME")
      ->check([](const std::string& text) { return IsHeaderText(text) ? std::string() : "expected printable ASCII without blanks"; }, "")
      ->group(group);
}

void AddSecretFlags(CLI::App& app, ConnectionOptions* options) {
  const std::string group = "Connection";
  app.add_flag("--tls", options->tls, "Speak TLS; the system's roots unless --tls-ca names others")
      ->envname("SWITCHYARD_TLS")
      ->group(group);
  AddFile(app, "--tls-ca", ReadPemFile, &options->tls_ca, "PEM roots the server's certificate must chain to (implies --tls)",
          "SWITCHYARD_TLS_CA");
  auto* certificate = AddFile(app, "--tls-cert", ReadPemFile, &options->tls_certificate,
                              "PEM certificate of this client, for mutual TLS (implies --tls)", "SWITCHYARD_TLS_CERT");
  auto* key = AddFile(app, "--tls-key", ReadPemFile, &options->tls_key, "PEM private key of --tls-cert", "SWITCHYARD_TLS_KEY");
  certificate->needs(key);
  key->needs(certificate);
  AddFile(app, "--token-file", ReadTokenFile, &options->token,
          "The bearer token to send; without TLS only a loopback server should get one", "SWITCHYARD_TOKEN_FILE");
}

std::vector<CLI::Option*> RoutingFlags::AddTo(CLI::App& app) {
  return {
      app.add_option("--routing", routing, "How experts are chosen: " + std::string(kRoutingForms))
          ->type_name("HOW")
          ->capture_default_str()
          ->group("Routing"),
      app.add_option("--pin", pin, "Refuse to be answered by another snapshot than this generation")->type_name("HASH")->group("Routing")};
}

Status ParseRoutingFlags(const RoutingFlags& flags, v1::Routing* routing, v1::PinnedGenerations* pinned) {
  ASSIGN_OR_RETURN(*routing, ParseRouting(flags.routing));
  pinned->set_snapshot(flags.pin);
  return OkStatus();
}

std::vector<CLI::Option*> PromptFlags::AddTo(CLI::App& app) {
  return {app.add_option("prompt", prompt, "The prompt; - reads it from standard input")->type_name("PROMPT"),
          app.add_flag("--chat", chat, "Send it as a user's message through the model's chat template"),
          app.add_option("--system", system, "The system message before it (with --chat)")->type_name("TEXT"),
          app.add_flag("--no-special-tokens", no_special_tokens, "Without the prefix (BOS) that the tokenizer puts before a text")};
}

StatusOr<std::string> ReadPrompt(const PromptFlags& flags, std::istream& in) {
  if (!flags.system.empty() && !flags.chat) return InvalidArgument("--system needs --chat");
  if (flags.no_special_tokens && flags.chat)
    return InvalidArgument("--no-special-tokens is for a text: a chat has the tokens of its template");
  std::string prompt = flags.prompt;
  if (prompt == "-") prompt.assign(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  if (!IsValidUtf8(prompt) || !IsValidUtf8(flags.system)) return InvalidArgument("the prompt is not UTF-8");
  return prompt;
}

v1::Chat MakeChat(const PromptFlags& flags, const std::string& prompt) {
  v1::Chat chat;
  const auto add = [&](const char* role, const std::string& content) {
    v1::ChatMessage* message = chat.add_messages();
    message->set_role(role);
    message->set_content(content);
  };
  if (!flags.system.empty()) add("system", flags.system);
  add("user", prompt);
  return chat;
}

void BatchFlags::AddTo(CLI::App& app, const std::string& request_name) {
  const std::string group = "Batch";
  auto* in = app.add_option("--input", input, "Send every line of this file, a " + request_name + " in proto3 JSON")
                 ->type_name("FILE.jsonl")
                 ->group(group);
  auto* out = app.get_option_no_throw("--output");
  if (out == nullptr) {
    out = app.add_option("--output", output, "Where the replies go, line by line in the same order; a file begun earlier is continued")
              ->type_name("FILE.jsonl")
              ->group(group);
    out->needs(in);
  }
  in->needs(out);
  app.add_option("--concurrency", concurrency, "Requests in flight at once")
      ->type_name("N")
      ->check(CLI::Range(1, 256).description(""))
      ->capture_default_str()
      ->group(group);
  app.add_option("--retries", retries, "How often a request is repeated that the server had no room for")
      ->type_name("N")
      ->check(CLI::Range(0, 1000).description(""))
      ->capture_default_str()
      ->group(group);
}

ExitCode RunBatchCommand(const BatchFlags& flags, const std::vector<CLI::Option*>& single, const BatchMethod& method,
                         const ConnectionOptions& connection, CommandEnvironment& environment) {
  Terminal& terminal = environment.terminal;
  for (const CLI::Option* option : single) {
    if (option->count() > 0) {
      return Fail(terminal, option->get_name() + " does not go with --input: each line of the input is a whole request");
    }
  }
  BatchOptions options{flags.input, flags.output, flags.concurrency, environment.retry};
  options.retry.retries = flags.retries;
  const StatusOr<BatchOutcome> outcome = RunBatch(options, method, terminal);
  if (!outcome.ok()) return Fail(terminal, outcome.status());
  terminal.err << absl::StrFormat("%d of %d answered in %s (%d by an earlier run, %d with an error), %.1f/s",
                                  outcome->resumed + outcome->done, outcome->requests, ShortDuration(absl::Seconds(outcome->seconds)),
                                  outcome->resumed, outcome->failed,
                                  outcome->seconds > 0 ? static_cast<double>(outcome->done) / outcome->seconds : 0.0)
               << std::endl;
  if (!outcome->stopped.ok()) {
    Fail(terminal, outcome->stopped, connection);
    terminal.err << "The answers so far are in " << flags.output << "; the same command goes on from there." << std::endl;
    return kExitUnreachable;
  }
  return outcome->failed > 0 ? kExitSomeFailed : kExitOk;
}

}  // namespace switchyard::client
