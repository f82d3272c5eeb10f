#include "client/rpc_error.h"

#include "absl/strings/str_format.h"
#include "client/screen_text.h"

namespace switchyard::client {

std::string CodeName(grpc::StatusCode code) {
  static constexpr const char* kNames[] = {"OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
                                           "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
                                           "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
                                           "DATA_LOSS", "UNAUTHENTICATED"};
  const int index = static_cast<int>(code);
  if (index < 0 || index >= static_cast<int>(std::size(kNames))) return absl::StrFormat("code %d", index);
  return kNames[index];
}

bool IsMessageTooLarge(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED && status.error_message().find("larger than max") != std::string::npos;
}

bool IsTransient(const grpc::Status& status) {
  if (IsMessageTooLarge(status)) return false;
  return status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED || status.error_code() == grpc::StatusCode::UNAVAILABLE;
}

std::string ExplainRpcError(const grpc::Status& status, const ConnectionOptions& options) {
  const std::string said = Printable(status.error_message());
  const std::string server = options.server;
  if (IsMessageTooLarge(status)) {
    return absl::StrFormat("a message is larger than allowed (%s).\nAsk for less detail, or raise --max-message-mib (now %d).", said,
                           options.max_message_mib);
  }
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return absl::StrFormat(
          "no Switchyard server answers at %s (%s).\nStart one with switchyard-server, or name another with --server HOST:PORT or "
          "SWITCHYARD_SERVER. A server that speaks TLS wants --tls-ca FILE, one with mutual TLS --tls-cert and --tls-key too.",
          server, said);
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::StrFormat("no answer from %s within %g s (%s).\nGive it longer with --timeout SECONDS, or ask for less.", server,
                             options.timeout_s, said);
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return absl::StrFormat("the server at %s has no room for this now: %s\nTry again in a moment, or send less at once.", server, said);
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::StrFormat(
          "the server at %s does not offer this call (%s).\nIs this the inference port of a Switchyard server of the same version?", server,
          said);
    case grpc::StatusCode::UNAUTHENTICATED:
      return absl::StrFormat(
          "the server at %s does not know who is calling: %s\nName a file that holds your token with --token-file FILE or "
          "SWITCHYARD_TOKEN_FILE.",
          server, said);
    case grpc::StatusCode::PERMISSION_DENIED:
      return absl::StrFormat("the server at %s does not allow this: %s", server, said);
    case grpc::StatusCode::NOT_FOUND:
      return absl::StrFormat("the server does not know what was asked for: %s\n`switchyard model` lists what it serves.", said);
    default:
      return absl::StrFormat("the server answered %s: %s", CodeName(status.error_code()), said);
  }
}

ExitCode ExitCodeFor(const grpc::Status& status) {
  if (status.ok()) return kExitOk;
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ? kExitUnreachable : kExitRefused;
}

}  // namespace switchyard::client
