// Administration: the catalog of one server and the port it is changed through, made from the server's options.
#pragma once

#include <memory>

#include "engine/base/status.h"
#include "engine/catalog/catalog.h"
#include "engine/runtime/engine.h"
#include "server/admin_server.h"
#include "server/divergence_watch.h"
#include "server/server_options.h"

namespace switchyard {

// Belongs to the thread that made it. Destroyed before the engine and the builder: the port closes first, then the catalog stops.
class Administration {
 public:
  // Loads what the state file wants, or else the options' experts and router, and publishes it before it returns. `publish` is called by
  // this thread once, then by the catalog's. What the start had to leave out is logged. Errors: those of Catalog::Create and
  // AdminServer::Start.
  static StatusOr<std::unique_ptr<Administration>> Start(const ServerOptions& options, SnapshotBuilder* builder, Engine* engine,
                                                         Catalog::PublishFn publish);

  ~Administration() { Stop(); }

  // Closes the port and ends the catalog's changes; its figures stay readable. Idempotent.
  void Stop();

  Catalog& catalog() { return *catalog_; }
  // What the rivals of the stable router do differently; every call of the inference port reports here.
  DivergenceWatch& divergence() { return *divergence_; }
  // Of the admin port's tokens; null when it is off.
  const Authorizer* authorizer() const { return admin_ == nullptr ? nullptr : &admin_->authorizer(); }
  int admin_port() const { return admin_ == nullptr ? 0 : admin_->port(); }  // 0 when it is off

 private:
  Administration() = default;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<DivergenceWatch> divergence_;
  std::unique_ptr<AdminServer> admin_;  // below the catalog: it goes first
};

}  // namespace switchyard
