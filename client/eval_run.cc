#include "client/eval_run.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/mcq_run.h"
#include "client/ordered_pool.h"
#include "client/progress.h"
#include "client/rpc_error.h"
#include "engine/mcq/dense2moe_prompt.h"
#include "engine/mcq/generated_answer.h"

namespace switchyard::client {
namespace {

struct Reply {
  EvalKey key;
  grpc::Status status;
  EvalAnswer answer;
};

grpc::Status Score(const McqQuestion& question, const EvalTarget& target, const EvalRunOptions& options, const v1::Routing& routing,
                   EvalAnswer* result) {
  McqRunOptions run;
  run.templates = options.templates;
  run.judges.letter = options.judges[kJudgeLetter];
  run.judges.text =
      std::any_of(options.judges.begin() + kJudgeSum, options.judges.begin() + kJudgeCount, [](bool wanted) { return wanted; });
  if (!run.judges.letter && !run.judges.text) return grpc::Status::OK;
  run.retry = options.retry;
  *run.common.mutable_routing() = routing;
  run.common.mutable_pinned()->set_snapshot(target.model.generations().snapshot());
  run.common.set_boundary(v1::BOUNDARY_LM_EVAL);
  run.common.set_truncate_context(options.truncate);
  const McqAnswer answer = AnswerQuestion(
      question, run, [&](const v1::ScoreRequest& request, v1::ScoreResponse* reply) { return target.pool->Next().Score(request, reply); });
  if (!answer.status.ok()) return answer.status;
  const McqVerdict verdict = Judge(answer);
  for (int judge = 0; judge < kJudgeCount; ++judge) {
    if (options.judges[judge] && verdict[judge].has_value()) result->verdict[judge] = *verdict[judge] == question.answer;
  }
  result->snapshot = (answer.text.has_value() ? *answer.text : *answer.letter).generations().snapshot();
  return answer.status;
}

grpc::Status Generate(const McqQuestion& question, const EvalTarget& target, const EvalRunOptions& options, const v1::Routing& routing,
                      EvalAnswer* result) {
  const auto wanted = [&](int judge) { return options.judges[judge]; };
  if (!wanted(kEvalGeneratedLetter) && !wanted(kEvalGeneratedDense2Moe) && !wanted(kEvalGeneratedDense2MoeText)) return grpc::Status::OK;
  v1::GenerateRequest request;
  request.set_id(question.id);
  request.set_text(Dense2MoePrompt(question) + kDense2MoeAnswerStart);
  request.set_add_special_tokens(false);  // the prompt begins with a BOS of its own
  request.set_max_tokens(kDense2MoeNewTokens);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_sampling()->set_repetition_penalty(1);
  request.set_truncate_prompt(options.truncate);
  *request.mutable_routing() = routing;
  request.mutable_pinned()->set_snapshot(target.model.generations().snapshot());
  v1::GenerateResponse reply;
  const grpc::Status status = CallWithRetry(options.retry, [&] { return target.pool->Next().Generate(request, &reply); });
  if (!status.ok()) return status;
  if (wanted(kEvalGeneratedLetter)) {
    result->verdict[kEvalGeneratedLetter] = JudgeGenerated(question, reply.text(), GeneratedJudge::kLetter).correct;
  }
  const GeneratedVerdict dense2moe = JudgeGenerated(question, reply.text(), GeneratedJudge::kDense2Moe);
  if (wanted(kEvalGeneratedDense2Moe)) result->verdict[kEvalGeneratedDense2Moe] = dense2moe.correct;
  if (wanted(kEvalGeneratedDense2MoeText)) result->verdict[kEvalGeneratedDense2MoeText] = dense2moe.correct || dense2moe.text_fallback;
  result->snapshot = reply.finish().generations().snapshot();
  return status;
}

// Statuses that would meet every question that follows.
bool Stops(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE || status.error_code() == grpc::StatusCode::FAILED_PRECONDITION;
}

}  // namespace

struct ServerPool::Turn {
  std::atomic<size_t> next{0};
};

ServerPool::ServerPool(const std::vector<std::string>& servers, const ConnectionOptions& options) : turn_(std::make_unique<Turn>()) {
  for (const std::string& server : servers) {
    ConnectionOptions one = options;
    one.server = server;
    connections_.push_back(std::make_unique<Connection>(one));
  }
}

ServerPool::~ServerPool() = default;

Connection& ServerPool::Next() { return *connections_[turn_->next.fetch_add(1) % connections_.size()]; }

StatusOr<EvalOutcome> RunEval(const std::vector<EvalRow>& rows, const std::vector<EvalSet>& sets, const std::vector<EvalTarget>& targets,
                              const EvalRunOptions& options, EvalState* state, Terminal& terminal, EvalAnswers* answers) {
  std::vector<EvalKey> missing;
  for (size_t row = 0; row < rows.size(); ++row) {
    for (size_t set = 0; set < sets.size(); ++set) {
      for (size_t q = 0; q < sets[set].data.questions.size(); ++q) {
        if (answers->count({row, set, q}) == 0) missing.emplace_back(row, set, q);
      }
    }
  }
  EvalOutcome outcome;
  const auto earlier = static_cast<int64_t>(answers->size());
  Progress progress(terminal, "questions", earlier + static_cast<int64_t>(missing.size()), earlier);
  Status written = OkStatus();
  size_t next = 0;
  RunOrdered<EvalKey, Reply>(
      options.concurrency,
      [&]() -> std::optional<EvalKey> {
        if (next == missing.size()) return std::nullopt;
        return missing[next++];
      },
      [&](EvalKey& key) {
        const auto [row, set, q] = key;
        const McqQuestion& question = sets[set].data.questions[q];
        const v1::Routing routing = RoutingFor(rows[row], sets[set].name, targets[row].model.generations());
        Reply reply{key, {}, {}};
        reply.status = Score(question, targets[row], options, routing, &reply.answer);
        if (reply.status.ok()) reply.status = Generate(question, targets[row], options, routing, &reply.answer);
        return reply;
      },
      [&](Reply reply) {
        const auto [row, set, q] = reply.key;
        if (Stops(reply.status)) {
          outcome.stopped = reply.status;
          return false;
        }
        progress.Advance(!reply.status.ok());
        ++outcome.asked;
        if (!reply.status.ok()) {
          outcome.failures.push_back(absl::StrFormat("%s, %s, %s: %s: %s", rows[row].label, sets[set].name, sets[set].data.questions[q].id,
                                                     CodeName(reply.status.error_code()), reply.status.error_message()));
          return true;
        }
        if (state != nullptr) written = state->Append(rows[row], sets[set], q, reply.answer);
        answers->emplace(reply.key, std::move(reply.answer));
        return written.ok();
      });
  outcome.seconds = absl::ToDoubleSeconds(progress.elapsed());
  RETURN_IF_ERROR(written);
  return outcome;
}

}  // namespace switchyard::client
