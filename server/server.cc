#include "server/server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "server/address.h"
#include "server/call_gate.h"
#include "server/catalog_collectable.h"
#include "server/certificate_collectable.h"
#include "server/credentials.h"
#include "server/divergence_collectable.h"
#include "server/gate_collectable.h"
#include "server/health_port.h"
#include "server/inference_service.h"
#include "server/log.h"
#include "server/open_streams.h"
#include "server/periodic.h"
#include "server/reflection.h"
#include "server/route_window.h"
#include "server/router_collectable.h"
#include "server/web_pages.h"

namespace switchyard {
namespace {
using std::chrono::steady_clock;

constexpr const char kServiceName[] = "switchyard.v1.Inference";
constexpr std::chrono::milliseconds kPoll{50};

steady_clock::duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<steady_clock::duration>(std::chrono::duration<double>(seconds));
}

// What the health service says, for the whole server and for the service by name.
void SetServing(grpc::Server& server, bool serving) {
  server.GetHealthCheckService()->SetServingStatus(serving);
  server.GetHealthCheckService()->SetServingStatus(kServiceName, serving);
}

std::unique_ptr<grpc::Server> BuildGrpc(const ServerOptions& options, const std::shared_ptr<grpc::ServerCredentials>& credentials,
                                        grpc::Service* service, int* port) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetReflection(builder, options.reflection);
  builder.AddListeningPort(options.listen, credentials, port);
  builder.SetMaxReceiveMessageSize(options.max_message_mib << 20);
  builder.SetMaxSendMessageSize(options.max_message_mib << 20);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second server on the port is an error, not a silent share of the traffic
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // A client that balances by DNS looks the name up again when a connection ends: only so does it learn of servers that were added.
  if (options.max_connection_age_seconds > 0)
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, options.max_connection_age_seconds * 1000);
  builder.RegisterService(service);
  return builder.BuildAndStart();
}

// Tokens and prompts that others on the way can read are worth a line.
void WarnOfPlainText(const ServerOptions& options) {
  if (!options.tls.enabled() && !IsLoopback(options.listen))
    Log(LogLevel::kWarning, "plain text",
        {{"address", options.listen}, {"note", "gRPC without TLS beyond loopback: prompts and tokens can be read on the way"}});
  if (!options.metrics.empty() && !options.gate.tokens.empty() && !IsLoopback(options.metrics))
    Log(LogLevel::kWarning, "plain text",
        {{"address", options.metrics}, {"note", "HTTP beyond loopback: tokens sent to it can be read on the way"}});
}

}  // namespace

struct Server::Impl {
  ServerOptions options;
  ServedModel model;
  RequestMetrics requests;
  std::unique_ptr<CallGate> gate;
  OpenStreams streams;
  std::unique_ptr<WorkerPool> workers;
  CallContext context;
  std::unique_ptr<InferenceService> service;
  std::unique_ptr<StatusJson> status;
  RouteWindow window;
  std::unique_ptr<HttpServer> http;
  std::optional<TlsFilesWatch> certificates;  // for the thread of `reload`
  std::unique_ptr<Periodic> reload, window_notes;
  std::unique_ptr<HealthPort> health;
  std::unique_ptr<grpc::Server> grpc;
  int grpc_port = 0, metrics_port = 0;
  bool drained = false;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, ServedModel model, ResidentBytes resident,
                                                const Administered& administered) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->model = std::move(model);
  ASSIGN_OR_RETURN(impl->gate, CallGate::Create(options.gate, &impl->requests));
  impl->workers =
      std::make_unique<WorkerPool>(options.workers, options.max_pending_requests, static_cast<size_t>(options.max_pending_mib) << 20);
  RequestLimits limits = options.limits;
  limits.max_reply_bytes = int64_t{options.max_message_mib} << 20;
  impl->context = {&impl->model, limits, impl->workers.get(), impl->gate.get(), administered.divergence, &impl->streams};
  impl->service = std::make_unique<InferenceService>(impl->context);
  impl->status = std::make_unique<StatusJson>(*impl->model.engine, impl->requests, impl->model.dtype, impl->model.untrained);
  if (!options.metrics.empty()) {
    std::vector<std::shared_ptr<const prometheus::Collectable>> metrics = {
        std::make_shared<MetricsCollectable>(*impl->model.engine, impl->requests, resident),
        std::make_shared<RouterCollectable>(*impl->model.engine, impl->window),
        std::make_shared<GateCollectable>(*impl->gate, administered.authorizer)};
    if (administered.divergence != nullptr) metrics.push_back(std::make_shared<DivergenceCollectable>(*administered.divergence));
    if (administered.catalog != nullptr) metrics.push_back(std::make_shared<CatalogCollectable>(*administered.catalog));
    if (options.tls.enabled()) metrics.push_back(std::make_shared<CertificateCollectable>(options.tls));
    auto pages = WebPages(impl->gate->authorizer(), impl->status.get(), std::move(metrics));
    ASSIGN_OR_RETURN(impl->http, HttpServer::Start(options.metrics, std::move(pages)));
    impl->metrics_port = impl->http->port();
  }
  ASSIGN_OR_RETURN(const auto credentials, MakeServerCredentials(options.tls));
  impl->grpc = BuildGrpc(options, credentials, impl->service.get(), &impl->grpc_port);
  if (impl->grpc == nullptr || impl->grpc_port == 0)
    return Unavailable("gRPC: cannot listen on %s (is another server there?)", options.listen);
  if (!options.health.empty()) {
    ASSIGN_OR_RETURN(impl->health, HealthPort::Start(options.health));
    impl->health->SetServing(true);
  }
  SetServing(*impl->grpc, true);
  WarnOfPlainText(options);
  impl->certificates.emplace(options.tls);
  impl->reload = std::make_unique<Periodic>(std::chrono::seconds(options.tls.reload_seconds), [state = impl.get()] {
    state->certificates->Look();
    state->gate->authorizer().Reload();
    state->status->Observe();
  });
  impl->window_notes = std::make_unique<Periodic>(
      RouteWindow::kInterval, [state = impl.get()] { state->window.Note(Clock::Real()->Now(), state->model.engine->router_sums()); });
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

int Server::grpc_port() const { return impl_->grpc_port; }
int Server::metrics_port() const { return impl_->metrics_port; }
int Server::health_port() const { return impl_->health == nullptr ? 0 : impl_->health->port(); }

Status Server::Drain(const std::function<bool()>& hurry) {
  if (std::exchange(impl_->drained, true)) return OkStatus();
  SetServing(*impl_->grpc, false);
  if (impl_->health != nullptr) impl_->health->SetServing(false);
  impl_->status->SetDraining();
  const auto delay_end = steady_clock::now() + FromSeconds(impl_->options.drain_delay_seconds);
  while (steady_clock::now() < delay_end && !hurry()) std::this_thread::sleep_for(kPoll);

  // Before the engine refuses: what a stream has in work is still accepted, and its idle end sends the client elsewhere at once.
  impl_->streams.EndAll();
  const auto deadline = steady_clock::now() + FromSeconds(impl_->options.drain_seconds);
  Status status;
  do {
    status = impl_->model.engine->Drain(std::min(deadline, steady_clock::now() + kPoll));
  } while (!status.ok() && steady_clock::now() < deadline && !hurry());
  // What is left is cancelled, so that every call ends and the server can close at once.
  impl_->model.engine->Stop();
  impl_->grpc->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
  impl_->grpc->Wait();
  impl_->workers.reset();
  return status;
}

Server::~Server() {
  if (impl_ == nullptr) return;
  impl_->options.drain_seconds = 0;
  impl_->options.drain_delay_seconds = 0;
  Drain([] { return true; }).IgnoreError();
  // The metrics page goes last: an operator may watch the drain.
  impl_->reload.reset();
  impl_->window_notes.reset();
  impl_->http.reset();
}

}  // namespace switchyard
