#include "trainer/compare/comparison.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "engine/artifact/model_config.h"
#include "engine/stats/over_layers.h"
#include "engine/text/tokenizer.h"
#include "trainer/compare/observe.h"

namespace switchyard::trainer {
namespace {

Status CheckNames(const CompareOptions& options) {
  if (options.methods.empty()) return InvalidArgument("--method: expected at least one");
  std::set<std::string> names;
  for (const MethodSpec& method : options.methods) {
    if (!names.insert(method.name).second) return InvalidArgument("--method %s: there are two of this name", method.name);
  }
  for (const NamedList& list : options.checkpoints) {
    if (!names.contains(list.name)) return InvalidArgument("--checkpoints %s: no method has this name", list.name);
    const auto method =
        std::find_if(options.methods.begin(), options.methods.end(), [&](const MethodSpec& m) { return m.name == list.name; });
    if (method->kind != MethodKind::kRouter) return InvalidArgument("--checkpoints %s: the method has no artifact", list.name);
    if (list.items.size() < 2) return InvalidArgument("--checkpoints %s: expected at least two", list.name);
  }
  for (const NamedList& list : options.ablations) {
    for (const std::string& item : list.items) {
      if (!names.contains(item)) return InvalidArgument("--ablation %s: no method is named %s", list.name, item);
    }
    if (!names.contains(list.name)) return InvalidArgument("--ablation %s: no method has this name", list.name);
  }
  const TimingOptions& timing = options.timing;
  if (timing.prefill_tokens < 1 || timing.decode_steps < 1 || timing.rounds < 1) {
    return InvalidArgument("--prefill-tokens, --decode-steps and --rounds: expected at least 1 each");
  }
  return OkStatus();
}

// Mean over neighbours of what CompareRecords says.
Agreement MeanAgreement(const std::vector<RouteRecord>& checkpoints) {
  std::vector<std::optional<double>> sets, best, jaccard;
  for (size_t i = 0; i + 1 < checkpoints.size(); ++i) {
    const Agreement pair = CompareRecords(checkpoints[i], checkpoints[i + 1]);
    sets.push_back(pair.same_set);
    best.push_back(pair.same_best);
    jaccard.push_back(pair.mean_jaccard);
  }
  return {.same_set = MeanOverLayers(sets), .same_best = MeanOverLayers(best), .mean_jaccard = MeanOverLayers(jaccard)};
}

class Runner {
 public:
  Runner(const CompareOptions& options, const std::function<void(const std::string&)>& say) : options_(options), say_(say) {}

  StatusOr<Comparison> Run() {
    RETURN_IF_ERROR(CheckNames(options_));
    RETURN_IF_ERROR(Read());
    RETURN_IF_ERROR(Describe());
    RETURN_IF_ERROR(Judge());
    RETURN_IF_ERROR(Observe());
    RETURN_IF_ERROR(CompareCheckpoints());
    RETURN_IF_ERROR(Time());
    return std::move(result_);
  }

 private:
  Status Read() {
    ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(options_.base_directory));
    ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(options_.base_directory));
    QuestionOptions questions = options_.questions;
    questions.max_tokens = std::min<int64_t>(questions.max_tokens, config.max_positions);
    questions.prefix_token = config.bos_token_id;
    if (!questions.prefix_token && !config.eos_token_ids.empty()) questions.prefix_token = config.eos_token_ids.front();
    ASSIGN_OR_RETURN(sets_, ReadQuestions(questions, *tokenizer));
    RosterOptions roster;
    roster.runner.base_directory = options_.base_directory;
    roster.runner.dtype = options_.dtype;
    roster.runner.threads = options_.threads;
    roster.experts = options_.experts;
    roster.methods = options_.methods;
    roster.work_directory = options_.out_directory + "/routers";
    roster.seed = options_.questions.seed;
    std::error_code error;
    std::filesystem::create_directories(roster.work_directory, error);
    if (error) return FailedPrecondition("%s: cannot be created: %s", roster.work_directory, error.message());
    ASSIGN_OR_RETURN(roster_, Roster::Open(roster, sets_));
    return OkStatus();
  }

  Status Describe() {
    const SnapshotInfo& info = roster_->runner().snapshot()->info();
    const LoadReport& report = roster_->report();
    result_.base = info.base_name;
    result_.base_generation = info.base_generation;
    result_.dtype = report.base_dtype;
    result_.isa = report.isa;
    result_.threads = options_.threads > 0 ? options_.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    result_.base_bytes = report.base_bytes;
    result_.kv_bytes_per_token = roster_->runner().kv().bytes_per_token;
    result_.seed = options_.questions.seed;
    result_.judge = options_.judge;
    result_.judged.assign(kJudgeCount, true);
    result_.judged[kJudgePmi] = options_.questions.with_prior;
    result_.judged[kJudgeLetter] = options_.questions.with_letter;
    result_.report = options_.report;
    result_.timing = options_.timing;
    result_.probability_tokens = options_.probability_tokens;
    result_.ablations = options_.ablations;
    for (const QuestionSet& set : sets_) result_.sets.push_back({set.name, static_cast<int64_t>(set.questions.size()), set.left_out});
    for (size_t m = 0; m < options_.methods.size(); ++m) {
      const std::vector<Contestant>& contestants = roster_->contestants()[m];
      MethodResult method;
      method.name = options_.methods[m].name;
      method.kind = contestants.front().kind;
      method.top_k = contestants.front().top_k;
      method.zero_expert = contestants.front().zero_expert();
      for (const auto& expert : contestants.front().snapshot->info().experts) method.experts.push_back(expert.name);
      for (const Contestant& contestant : contestants) {
        RETURN_IF_ERROR(CheckLike(method, contestant));
        ArtifactResult artifact;
        artifact.directory = contestant.directory;
        artifact.snapshot = contestant.snapshot->info().generation;
        artifact.router_bytes = contestant.router_bytes;
        artifact.expert_bytes = contestant.expert_bytes;
        method.artifacts.push_back(std::move(artifact));
      }
      result_.methods.push_back(std::move(method));
    }
    return OkStatus();
  }

  // Seeds of one method are averaged, so they must be alike.
  static Status CheckLike(const MethodResult& method, const Contestant& contestant) {
    std::vector<std::string> experts;
    for (const auto& expert : contestant.snapshot->info().experts) experts.push_back(expert.name);
    if (contestant.kind == method.kind && contestant.top_k == method.top_k && experts == method.experts) return OkStatus();
    return InvalidArgument("--method %s: %s is a %s router, top %d of %d experts, the first artifact is %s, top %d of %d", method.name,
                           contestant.directory, contestant.kind, contestant.top_k, experts.size(), method.kind, method.top_k,
                           method.experts.size());
  }

  Status Judge() {
    EngineOptions options;
    ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options, &roster_->runner()));
    return ForEach("accuracy", [&](const Contestant& contestant, ArtifactResult* artifact) -> Status {
      ASSIGN_OR_RETURN(artifact->accuracy, MeasureAccuracy(*engine, contestant, sets_));
      return OkStatus();
    });
  }

  Status Observe() {
    return ForEach("routes", [&](const Contestant& contestant, ArtifactResult* artifact) -> Status {
      RouteRecord record;
      if (contestant.top_k > 0) {
        ASSIGN_OR_RETURN(record, ObserveRoutes(roster_->runner(), contestant, sets_, options_.probability_tokens));
        artifact->routing = MakeRoutingReport(record, options_.report);
        result_.tokens = record.rows();
      }
      artifact->flops =
          CountFlops(roster_->config(), contestant, record, options_.timing.prefill_tokens + options_.timing.decode_steps / 2);
      return OkStatus();
    });
  }

  Status CompareCheckpoints() {
    for (const NamedList& list : options_.checkpoints) {
      const auto method =
          std::find_if(result_.methods.begin(), result_.methods.end(), [&](const MethodResult& m) { return m.name == list.name; });
      const int32_t top_k = options_.methods[static_cast<size_t>(method - result_.methods.begin())].top_k;
      std::vector<RouteRecord> records;
      for (const std::string& directory : list.items) {
        ASSIGN_OR_RETURN(const Contestant contestant, roster_->Add(list.name, directory, top_k));
        ASSIGN_OR_RETURN(RouteRecord record, ObserveRoutes(roster_->runner(), contestant, sets_, 0));
        records.push_back(std::move(record));
      }
      method->checkpoints = MeanAgreement(records);
      say_(absl::StrFormat("checkpoints: %s, %d of them", list.name, list.items.size()));
    }
    return OkStatus();
  }

  Status Time() {
    std::vector<const Contestant*> contestants;
    std::vector<ArtifactResult*> artifacts;
    RETURN_IF_ERROR(ForEach("", [&](const Contestant& contestant, ArtifactResult* artifact) {
      contestants.push_back(&contestant);
      artifacts.push_back(artifact);
      return OkStatus();
    }));
    std::vector<TokenId> text;
    for (const QuestionSet& set : sets_) {
      const Question& question = set.questions.front();
      const auto& tokens = question.text[static_cast<size_t>(question.answer)].tokens;
      text.insert(text.end(), tokens.begin(), tokens.end());
    }
    ASSIGN_OR_RETURN(const std::vector<Timings> timings, MeasureTimings(roster_->runner(), contestants, text, options_.timing));
    for (size_t i = 0; i < timings.size(); ++i) artifacts[i]->timings = timings[i];
    say_("time: done");
    return OkStatus();
  }

  template <typename Work>
  Status ForEach(const std::string& what, Work work) {
    for (size_t m = 0; m < result_.methods.size(); ++m) {
      MethodResult& method = result_.methods[m];
      for (size_t a = 0; a < method.artifacts.size(); ++a) {
        const Status done = work(roster_->contestants()[m][a], &method.artifacts[a]);
        if (!done.ok()) return Annotate(done, method.name);
      }
      if (!what.empty()) say_(what + ": " + method.name);
    }
    return OkStatus();
  }

  const CompareOptions& options_;
  const std::function<void(const std::string&)>& say_;
  std::vector<QuestionSet> sets_;
  std::unique_ptr<Roster> roster_;  // refers to sets_
  Comparison result_;
};

}  // namespace

StatusOr<Comparison> Compare(const CompareOptions& options, const std::function<void(const std::string&)>& say) {
  return Runner(options, say).Run();
}

}  // namespace switchyard::trainer
