// Server: the gRPC server, its worker pool, the metrics page and their orderly end, around one Engine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "engine/base/status.h"
#include "engine/catalog/catalog.h"
#include "server/metrics_collectable.h"
#include "server/served_model.h"
#include "server/server_options.h"

namespace switchyard {

class Authorizer;
class DivergenceWatch;

// What a server that can be changed while it runs has beside its engine; null: it has not.
struct Administered {
  const Catalog* catalog = nullptr;
  DivergenceWatch* divergence = nullptr;   // measures the rivals of the stable router
  const Authorizer* authorizer = nullptr;  // of the admin port
};

// Not thread-safe: Start, Drain and the destructor belong to one thread (main, or a test).
class Server {
 public:
  // `model.engine` and what `administered` names must outlive the server. UNAVAILABLE when an address cannot be bound. Health is SERVING
  // when this returns.
  static StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, ServedModel model, ResidentBytes resident,
                                                 const Administered& administered = {});
  // Drains within no time if Drain was not called.
  ~Server();

  int grpc_port() const;
  int metrics_port() const;  // 0 without metrics
  int health_port() const;   // 0 without a port for probes

  // Health NOT_SERVING, new tasks refused, accepted ones finished within the options' drain time (then cancelled), server shut down, engine
  // stopped. `hurry` is polled: true ends the wait. Returns DEADLINE_EXCEEDED when work had to be cut off.
  Status Drain(const std::function<bool()>& hurry);

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard
