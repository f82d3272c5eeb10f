#include "tests/soak/soak_server.h"

#include <cstdio>
#include <cstdlib>

#include "tests/server/fake_tokenizer.h"

namespace switchyard::soak {
namespace {

FakeModelRunner::Options ModelOptions() {
  FakeModelRunner::Options options;
  options.num_blocks = 512;
  options.keep_steps = false;
  return options;
}

template <typename T>
T Must(StatusOr<T> result) {
  if (result.ok()) return *std::move(result);
  std::fprintf(stderr, "swap_soak: %s\n", result.status().ToString().c_str());
  std::exit(1);
}

}  // namespace

SoakRunner::SoakRunner(std::shared_ptr<const Snapshot> first) : model_(ModelOptions()), first_(first) {}

SnapshotInfo LikeSnapshot() { return FakeModelRunner(ModelOptions()).snapshot()->info(); }

SoakServer::SoakServer(std::shared_ptr<const Snapshot> first) : runner_(first) {
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics = "";
  options.reflection = false;
  options.drain_seconds = 10;
  options.gate.log_requests = 0;
  engine_ = Must(Engine::Create(options.engine, &runner_));
  ServedModel model;
  model.engine = engine_.get();
  model.tokenizer = std::make_shared<FakeTokenizer>();
  model.dtype = "f32";
  server_ = Must(Server::Start(options, model, {}));
}

std::string SoakServer::address() const { return "127.0.0.1:" + std::to_string(server_->grpc_port()); }

}  // namespace switchyard::soak
