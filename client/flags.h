// Options that several commands share, and what becomes of them.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "client/batch.h"
#include "client/command.h"
#include "client/connection.h"
#include "engine/base/status.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard::client {

// --server, --timeout, --max-message-mib, and what makes the connection safe: --tls, --tls-ca, --tls-cert, --tls-key, --token-file,
// --tenant. Files are read while the command line is parsed.
void AddConnectionFlags(CLI::App& app, ConnectionOptions* options);
// Of these, what any port of the server may want: --tls, --tls-ca, --tls-cert, --tls-key, --token-file.
void AddSecretFlags(CLI::App& app, ConnectionOptions* options);

// How the request chooses experts, and which generation must answer.
struct RoutingFlags {
  std::string routing = "learned";
  std::string pin;

  // The options, so that a command can tell whether they were given.
  std::vector<CLI::Option*> AddTo(CLI::App& app);
};

// A request of one of the three kinds: all have `routing` and `pinned`.
template <typename Request>
Status ApplyRouting(const RoutingFlags& flags, Request* request);

// PROMPT, --chat, --system, --no-special-tokens
struct PromptFlags {
  std::string prompt;
  bool chat = false;
  bool no_special_tokens = false;
  std::string system;

  std::vector<CLI::Option*> AddTo(CLI::App& app);
};

// "-" is all of `in`. INVALID_ARGUMENT when the prompt is not UTF-8, or --system is given without --chat, or --no-special-tokens
// with it.
template <typename Request>
Status ApplyPrompt(const PromptFlags& flags, std::istream& in, Request* request);

// --input, --output, --concurrency, --retries
struct BatchFlags {
  std::string input;
  std::string output;
  int concurrency = 8;
  int retries = 8;

  void AddTo(CLI::App& app, const std::string& request_name);
  bool given() const { return !input.empty(); }
};

// Runs the batch and prints its closing line. `single` are the options that describe one request: refused here, because every line of the
// input is a whole request.
ExitCode RunBatchCommand(const BatchFlags& flags, const std::vector<CLI::Option*>& single, const BatchMethod& method,
                         const ConnectionOptions& connection, CommandEnvironment& environment);

// ---------------------------------------------------------------------------------------------------------------- implementation

Status ParseRoutingFlags(const RoutingFlags& flags, v1::Routing* routing, v1::PinnedGenerations* pinned);
StatusOr<std::string> ReadPrompt(const PromptFlags& flags, std::istream& in);
v1::Chat MakeChat(const PromptFlags& flags, const std::string& prompt);

template <typename Request>
Status ApplyRouting(const RoutingFlags& flags, Request* request) {
  v1::PinnedGenerations pinned;
  RETURN_IF_ERROR(ParseRoutingFlags(flags, request->mutable_routing(), &pinned));
  if (!flags.pin.empty()) *request->mutable_pinned() = pinned;
  return OkStatus();
}

template <typename Request>
Status ApplyPrompt(const PromptFlags& flags, std::istream& in, Request* request) {
  ASSIGN_OR_RETURN(const std::string prompt, ReadPrompt(flags, in));
  if (flags.chat) {
    *request->mutable_chat() = MakeChat(flags, prompt);
  } else {
    request->set_text(prompt);
    if (flags.no_special_tokens) request->set_add_special_tokens(false);
  }
  return OkStatus();
}

}  // namespace switchyard::client
