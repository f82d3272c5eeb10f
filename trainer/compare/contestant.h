// From artifacts to snapshots over one resident base: everything the server checks when it loads a router is checked here, by the same
// code.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/artifact/model_config.h"
#include "engine/base/status.h"
#include "engine/runner/runner_factory.h"
#include "trainer/compare/method.h"
#include "trainer/compare/questions.h"

namespace switchyard::trainer {

// One artifact of one method (or the base, or the oracle), ready to run.
struct Contestant {
  std::string directory;  // of the router; "" for base and oracle
  std::string kind;       // of the router: "linear", ...; "base", "oracle"
  int32_t top_k = 0;
  std::shared_ptr<const Snapshot> snapshot;
  std::vector<RoutingPolicy> policies;  // [sets] what each set is answered with
  std::vector<double> expert_flops;     // [E] of one token that selects the expert in every layer
  double router_flops = 0;              // of one token, all layers
  int64_t router_bytes = 0, expert_bytes = 0;

  int16_t zero_expert() const;  // -1: none
};

struct RosterOptions {
  RunnerOptions runner;            // base, dtype, threads, KV; no experts and no router
  std::vector<NamedList> experts;  // NAME=DIRECTORY; a name may come twice: routers say by hash which one they mean
  std::vector<MethodSpec> methods;
  std::string work_directory;  // where routers that are made here are written: the random one, and those of another top_k
  uint64_t seed = 1;           // of the random router
};

// Owns base, experts and routers. Not thread-safe.
class Roster {
 public:
  // NOT_FOUND when a router is bound to an expert that no --expert directory holds, and what loading gives.
  static StatusOr<std::unique_ptr<Roster>> Open(const RosterOptions& options, const std::vector<QuestionSet>& sets);

  ModelRunner& runner() { return *loaded_.runner; }
  const LoadReport& report() const { return loaded_.report; }
  const ModelConfig& config() const { return config_; }
  // [methods][artifacts], in the order asked for.
  const std::vector<std::vector<Contestant>>& contestants() const { return contestants_; }
  // One more router, for consistency over checkpoints. `top_k` as in MethodSpec.
  StatusOr<Contestant> Add(const std::string& label, const std::string& directory, int32_t top_k);

 private:
  struct ResidentExpert {
    std::string name, directory;
    std::shared_ptr<const ExpertPart> part;
    double flops = 0;
  };

  Roster(const RosterOptions& options, const std::vector<QuestionSet>& sets) : options_(options), sets_(sets) {}
  Status Load();
  StatusOr<std::string> WithTopK(const std::string& label, const std::string& directory, int32_t top_k);
  StatusOr<std::string> RandomRouter();
  StatusOr<Contestant> Fixed(MethodKind kind);
  const std::string* FirstRouter() const;

  const RosterOptions options_;
  const std::vector<QuestionSet>& sets_;
  ModelConfig config_;
  LoadedRunner loaded_;
  std::vector<ResidentExpert> experts_;
  std::vector<std::vector<Contestant>> contestants_;
};

}  // namespace switchyard::trainer
