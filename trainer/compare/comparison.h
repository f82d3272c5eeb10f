// Runs methods against one another on one base and one set of questions, and holds what came out.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/mcq/mcq.h"
#include "engine/stats/routing_report.h"
#include "trainer/compare/accuracy.h"
#include "trainer/compare/cost.h"
#include "trainer/compare/method.h"
#include "trainer/compare/questions.h"

namespace switchyard::trainer {

struct CompareOptions {
  std::string base_directory;
  std::vector<NamedList> experts;
  std::vector<MethodSpec> methods;     // at least one
  std::vector<NamedList> checkpoints;  // NAME=artifacts in the order of training: consistency of that method over them
  std::vector<NamedList> ablations;    // FULL=methods that differ from it by one part
  QuestionOptions questions;
  Judge judge = kJudgeSum;    // of the accuracy table; the JSON has all that were asked
  std::string out_directory;  // for routers made here
  std::string dtype = "auto";
  int32_t threads = 0;
  int64_t probability_tokens = 2048;  // of the Gram figures
  ReportOptions report;
  TimingOptions timing;
};

// One artifact: a seed of its method.
struct ArtifactResult {
  std::string directory;
  std::string snapshot;  // its generation
  Accuracy accuracy;
  std::optional<RoutingReport> routing;  // absent for the base: nothing is routed
  Flops flops;
  Timings timings;
  int64_t router_bytes = 0, expert_bytes = 0;
};

struct MethodResult {
  std::string name, kind;
  int32_t top_k = 0;
  std::vector<std::string> experts;  // with zero
  int16_t zero_expert = -1;
  std::vector<ArtifactResult> artifacts;  // at least one
  std::optional<Agreement> checkpoints;   // mean over neighbouring checkpoints
};

struct SetSummary {
  std::string name;
  int64_t questions = 0;
  std::vector<BadRecord> left_out;
};

struct Comparison {
  std::string base, base_generation, dtype, isa;
  int32_t threads = 0;
  int64_t base_bytes = 0, kv_bytes_per_token = 0;
  uint64_t seed = 0;
  Judge judge = kJudgeSum;
  std::vector<bool> judged;  // [kJudgeCount] which were asked
  std::vector<SetSummary> sets;
  int64_t tokens = 0;  // of the routing figures
  int64_t probability_tokens = 0;
  ReportOptions report;
  TimingOptions timing;
  std::vector<MethodResult> methods;  // as asked
  std::vector<NamedList> ablations;
};

// `say` gets a line for a person whenever a part is done. INVALID_ARGUMENT for names that are not unique or not there; what loading and
// running give. Uses the whole machine; takes minutes.
StatusOr<Comparison> Compare(const CompareOptions& options, const std::function<void(const std::string&)>& say);

}  // namespace switchyard::trainer
