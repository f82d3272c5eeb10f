#include "server/score_job.h"

#include <algorithm>
#include <utility>

#include "engine/runtime/score_layout.h"
#include "server/divergence_watch.h"
#include "server/reply_parts.h"
#include "server/request_text.h"
#include "server/score_task.h"

namespace switchyard {
namespace {

double Sum(const ScoreItemResult& item) {
  double sum = 0;
  for (const float logprob : item.logprobs) sum += logprob;
  return sum;
}

void FillScore(const ServedModel& model, const v1::ScoreRequest& request, const PreparedScore& prepared, const ScoreResult& result, int i,
               v1::ContinuationScore* out) {
  const ScoreItemResult& item = result.groups[0][i];
  const double sum = Sum(item);
  const std::string& text = prepared.texts[i];
  out->set_logprob(sum);
  out->set_is_greedy(item.is_greedy);
  out->set_tokens(static_cast<int32_t>(item.logprobs.size()));
  out->set_characters(CountCharacters(text));
  out->set_bytes(static_cast<int32_t>(text.size()));
  out->set_context_tokens(prepared.context_tokens[i]);
  if (out->tokens() > 0) out->set_per_token(sum / out->tokens());
  if (out->characters() > 0) out->set_per_character(sum / out->characters());
  if (out->bytes() > 0) out->set_per_byte(sum / out->bytes());
  if (prepared.has_unconditional) out->set_pmi(sum - Sum(result.groups[1][i]));
  if (!request.token_logprobs()) return;
  for (size_t t = 0; t < item.logprobs.size(); ++t) {
    v1::TokenLogProbs* token = out->add_token_logprobs();
    token->set_token(prepared.continuations[i][t]);
    token->set_logprob(item.logprobs[t]);
    if (auto decoded = model.tokenizer->Decode({prepared.continuations[i][t]}, /*skip_special_tokens=*/false); decoded.ok())
      token->set_text(*decoded);
  }
}

// The first of the best; absent when the figure is absent for any continuation.
template <typename Has, typename Get>
std::optional<int32_t> Winner(const v1::ScoreResponse& response, Has has, Get get) {
  std::optional<int32_t> best;
  for (int i = 0; i < response.scores_size(); ++i) {
    if (!has(response.scores(i))) return std::nullopt;
    if (!best || get(response.scores(i)) > get(response.scores(*best))) best = i;
  }
  return best;
}

void FillWinners(v1::ScoreResponse* response) {
  using S = v1::ContinuationScore;
  v1::ScoreWinners* winners = response->mutable_winners();
  winners->set_sum(*Winner(
      *response, [](const S&) { return true; }, [](const S& s) { return s.logprob(); }));
  if (const auto w = Winner(
          *response, [](const S& s) { return s.has_per_token(); }, [](const S& s) { return s.per_token(); }))
    winners->set_per_token(*w);
  if (const auto w = Winner(
          *response, [](const S& s) { return s.has_per_character(); }, [](const S& s) { return s.per_character(); })) {
    winners->set_per_character(*w);
  }
  if (const auto w = Winner(
          *response, [](const S& s) { return s.has_per_byte(); }, [](const S& s) { return s.per_byte(); }))
    winners->set_per_byte(*w);
  if (const auto w = Winner(
          *response, [](const S& s) { return s.has_pmi(); }, [](const S& s) { return s.pmi(); }))
    winners->set_pmi(*w);
}

// The token of each row of the trace: per group the shared context, then each item's own rows.
std::vector<TokenId> ScoreTraceTokens(const ScoreTask& task) {
  const ScoreLayout layout = LayOutScore(task);
  std::vector<TokenId> tokens;
  for (size_t g = 0; g < task.groups.size(); ++g) {
    const std::vector<ScoreItem>& items = task.groups[g];
    const int32_t trunk = layout.groups[g].trunk_rows;
    tokens.insert(tokens.end(), items[0].tokens.begin(), items[0].tokens.begin() + trunk);
    for (const ScoreItem& item : items) tokens.insert(tokens.end(), item.tokens.begin() + trunk, item.tokens.end() - 1);
  }
  return tokens;
}

v1::ScoreResponse MakeResponse(const ServedModel& model, const v1::ScoreRequest& request, const PreparedScore& prepared,
                               const ScoreResult& result) {
  v1::ScoreResponse response;
  response.set_id(request.id());
  for (int i = 0; i < request.continuations_size(); ++i) FillScore(model, request, prepared, result, i, response.add_scores());
  FillWinners(&response);
  FillUsage(result.usage, response.mutable_usage());
  FillTimings(result.usage, response.mutable_timings());
  const SnapshotInfo& info = result.snapshot->info();
  FillGenerations(info, response.mutable_generations());
  if (prepared.task.record_routes) {
    const v1::RouteLevel level = std::max(request.routes(), v1::ROUTE_LEVEL_SUMMARY);
    const std::vector<TokenId> rows = level == v1::ROUTE_LEVEL_TOKEN ? ScoreTraceTokens(prepared.task) : std::vector<TokenId>();
    FillRoutes(result.routes, info, level, rows, *model.tokenizer, response.mutable_routes());
  }
  response.set_truncated_tokens(prepared.truncated_tokens);
  return response;
}

}  // namespace

void RunScore(const CallContext& context, const v1::ScoreRequest& request, const CallTerms& terms, ScoreReply reply) {
  auto prepared = PrepareScore(context, request, terms);
  if (!prepared.ok()) return reply(prepared.status());
  auto kept = std::make_shared<const PreparedScore>(*std::move(prepared));
  ScoreTask task = kept->task;
  const ServedModel* model = context.model;
  WorkerPool* workers = context.workers;
  DivergenceWatch* divergence = context.divergence;
  auto shared_reply = std::make_shared<ScoreReply>(std::move(reply));
  // `request` is only borrowed for this call: what the reply needs of it is copied.
  auto shared_request = std::make_shared<const v1::ScoreRequest>(request);
  auto submitted = model->engine->Score(std::move(task), [=](StatusOr<ScoreResult> result) {
    auto shared_result = std::make_shared<StatusOr<ScoreResult>>(std::move(result));
    workers->Post([=] {
      if (!shared_result->ok()) {
        if (divergence != nullptr) divergence->Failed(kept->task.snapshot, kept->task.policy, shared_result->status());
        return (*shared_reply)(shared_result->status());
      }
      (*shared_reply)(MakeResponse(*model, *shared_request, *kept, **shared_result));
      if (divergence != nullptr) divergence->Answered(kept->task);
    });
  });
  if (!submitted.ok()) return (*shared_reply)(submitted.status());
  terms.link->Attach(model->engine, *submitted);
}

}  // namespace switchyard
