#include "client/admin_connection.h"

#include <chrono>

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/str_format.h"
#include "client/flags.h"
#include "client/rpc_error.h"
#include "client/screen_text.h"
#include "grpcpp/client_context.h"

namespace switchyard::client {

void AddAdminConnectionFlags(CLI::App& app, ConnectionOptions* options) {
  options->server = kDefaultAdmin;
  options->timeout_s = 30;
  app.add_option("--server", options->server, "Admin port of the server")
      ->envname("SWITCHYARD_ADMIN")
      ->type_name("HOST:PORT")
      ->capture_default_str()
      ->group("Connection");
  app.add_option("--timeout", options->timeout_s, "Give up on a call after this long (waiting for an operation comes on top)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.001, 1e6).description(""))
      ->capture_default_str()
      ->group("Connection");
  AddSecretFlags(app, options);
}

ExitCode FailAdmin(Terminal& terminal, const grpc::Status& status, const ConnectionOptions& options) {
  const std::string said = Printable(status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return Fail(terminal,
                  absl::StrFormat(
                      "nobody answers at the admin port %s (%s).\nIt is off unless the server was started with --admin HOST:PORT; name it "
                      "with --server or SWITCHYARD_ADMIN.",
                      options.server, said),
                  kExitUnreachable);
    case grpc::StatusCode::UNIMPLEMENTED:
      return Fail(terminal, absl::StrFormat("%s is no admin port (%s). Is it the inference port?", options.server, said), kExitRefused);
    default:
      return Fail(terminal, absl::StrFormat("the server answered %s: %s", CodeName(status.error_code()), said), ExitCodeFor(status));
  }
}

AdminConnection::AdminConnection(ConnectionOptions options)
    : options_(std::move(options)), stub_(v1::Admin::NewStub(OpenChannel(options_, "pick_first"))) {}

void AdminConnection::Prepare(grpc::ClientContext* context, double more_s) const {
  const auto timeout = std::chrono::duration<double>(options_.timeout_s + more_s);
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::microseconds>(timeout));
  if (!options_.token.empty()) context->AddMetadata("authorization", "Bearer " + options_.token);
}

grpc::Status AdminConnection::Apply(const v1::ApplyRequest& request, v1::Operation* response) {
  grpc::ClientContext context;
  Prepare(&context, request.wait_ms() / 1000.0);
  return stub_->Apply(&context, request, response);
}
grpc::Status AdminConnection::List(v1::CatalogState* response) {
  grpc::ClientContext context;
  Prepare(&context);
  return stub_->List(&context, {}, response);
}
grpc::Status AdminConnection::Describe(const v1::DescribeRequest& request, v1::Artifact* response) {
  grpc::ClientContext context;
  Prepare(&context);
  return stub_->Describe(&context, request, response);
}
grpc::Status AdminConnection::GetOperation(const v1::GetOperationRequest& request, v1::Operation* response) {
  grpc::ClientContext context;
  Prepare(&context, request.wait_ms() / 1000.0);
  return stub_->GetOperation(&context, request, response);
}
grpc::Status AdminConnection::ListOperations(uint32_t limit, v1::ListOperationsResponse* response) {
  grpc::ClientContext context;
  Prepare(&context);
  v1::ListOperationsRequest request;
  request.set_limit(limit);
  return stub_->ListOperations(&context, request, response);
}
grpc::Status AdminConnection::GetUtilisation(v1::Utilisation* response) {
  grpc::ClientContext context;
  Prepare(&context);
  return stub_->GetUtilisation(&context, {}, response);
}

}  // namespace switchyard::client
