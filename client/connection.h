// One server, seen as four calls. Hides channel set-up, deadlines and the stream of Generate.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "grpcpp/channel.h"
#include "grpcpp/support/status.h"
#include "switchyard/v1/inference.grpc.pb.h"

namespace switchyard::client {

struct ConnectionOptions {
  std::string server = "127.0.0.1:8500";
  double timeout_s = 300;    // a deadline for each call
  int max_message_mib = 64;  // largest reply accepted
  // TLS when `tls` is set or any of the three is given. PEM text, not paths.
  bool tls = false;
  std::string tls_ca;           // roots the server's certificate must chain to; "": the system's
  std::string tls_certificate;  // this client's, for mutual TLS
  std::string tls_key;
  std::string token;   // sent as `authorization: Bearer`; "": none
  std::string tenant;  // sent as `switchyard-tenant`; "": none
};

// A channel to options.server. Connects lazily; proxies from the environment are not used. `balancing` is gRPC's policy for a name of
// several addresses.
std::shared_ptr<grpc::Channel> OpenChannel(const ConnectionOptions& options, const std::string& balancing);

// Thread-safe: any number of calls at once over one channel, spread over all addresses that the server's name has. Each call blocks until
// its end. Proxies from the environment are not used.
class Connection {
 public:
  using PieceFn = std::function<void(const v1::GenerateResponse&)>;

  explicit Connection(ConnectionOptions options);

  const ConnectionOptions& options() const { return options_; }

  // Fills `whole` with the stream put together: the text, tokens and log-probs joined, the rest from the message that carries it.
  // `on_piece`, when given, sees each message as it arrives, on this thread. INTERNAL when the stream ends well without a finish.
  grpc::Status Generate(const v1::GenerateRequest& request, v1::GenerateResponse* whole, const PieceFn& on_piece = nullptr);
  grpc::Status Score(const v1::ScoreRequest& request, v1::ScoreResponse* response);
  grpc::Status Route(const v1::RouteRequest& request, v1::RouteResponse* response);
  grpc::Status GetModel(v1::GetModelResponse* response);

 private:
  void Prepare(grpc::ClientContext* context) const;

  const ConnectionOptions options_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

}  // namespace switchyard::client
