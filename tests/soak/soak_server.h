// A whole server in this process over a model that is swapped: engine, gRPC, catalog. Two of them make a soak: one under load, one quiet.
#pragma once

#include <memory>
#include <string>

#include "engine/runtime/engine.h"
#include "engine/runtime/serving_set.h"
#include "server/server.h"
#include "tests/testing/fake_model_runner.h"
#include "tests/testing/fake_snapshot_builder.h"

namespace switchyard::soak {

// The fake model, beginning on a snapshot of the catalog's. Its answers are a hash of everything a token saw, its snapshot's generation
// among it, and it reports every read of a KV slot that belongs to another history: a mixed answer cannot look like a good one.
class SoakRunner final : public ModelRunner {
 public:
  explicit SoakRunner(std::shared_ptr<const Snapshot> first);
  std::shared_ptr<const Snapshot> snapshot() const override { return first_.lock(); }
  KvGeometry kv() const override { return model_.kv(); }
  StatusOr<StepResult> Run(const Step& step) override { return model_.Run(step); }
  std::vector<std::string> violations() const { return model_.violations(); }

 private:
  FakeModelRunner model_;
  const std::weak_ptr<const Snapshot> first_;  // asked for once, while the engine is made; held no longer than it is served
};

// Names and sizes of the snapshots the model takes.
SnapshotInfo LikeSnapshot();

class SoakServer {
 public:
  // `first` is served until something else is published.
  explicit SoakServer(std::shared_ptr<const Snapshot> first);
  void Publish(ServingSet set) { engine_->Publish(std::move(set)); }
  std::string address() const;
  EngineStats stats() const { return engine_->stats(); }
  std::vector<std::string> violations() const { return runner_.violations(); }

 private:
  SoakRunner runner_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Server> server_;
};

}  // namespace switchyard::soak
