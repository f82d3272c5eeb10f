#include "server/score_job.h"

#include <algorithm>
#include <utility>

#include "engine/runtime/score_layout.h"
#include "server/reply_parts.h"
#include "server/request_text.h"
#include "server/routing_request.h"

namespace switchyard {
namespace {

// What the reply needs besides the engine's result.
struct Prepared {
  ScoreTask task;
  std::vector<std::vector<TokenId>> continuations;  // scored tokens of each
  std::vector<std::string> texts;                   // of each, as counted by the normalisations
  std::vector<int32_t> context_tokens;
  bool has_unconditional = false;
  int64_t truncated_tokens = 0;
};

class Preparation {
 public:
  Preparation(const CallContext& context, const v1::ScoreRequest& request)
      : model_(*context.model), limits_(context.limits), request_(request) {}

  StatusOr<Prepared> Run() {
    const auto snapshot = model_.engine->snapshot();
    max_positions_ = snapshot->info().max_positions;
    RETURN_IF_ERROR(CheckPins(request_.pinned(), snapshot->info()));
    ASSIGN_OR_RETURN(prepared_.task.policy, PolicyOf(request_.routing(), snapshot->info()));
    RETURN_IF_ERROR(CheckLevel(request_.routes(), "routes"));
    if (!v1::Boundary_IsValid(request_.boundary())) {
      return InvalidArgument("boundary: %d is not a rule; expected 0 to %d", static_cast<int>(request_.boundary()),
                             static_cast<int>(v1::Boundary_MAX));
    }
    const int count = request_.continuations_size();
    if (count < 1 || count > limits_.max_continuations) {
      return InvalidArgument("continuations: expected 1 to %d, found %d", limits_.max_continuations, count);
    }
    prepared_.task.share_context = !request_.recompute_context();
    prepared_.task.use_prefix_cache = !request_.recompute_context();
    prepared_.task.record_routes = request_.routes() >= v1::ROUTE_LEVEL_SUMMARY;
    if (request_.context_case() == v1::ScoreRequest::CONTEXT_NOT_SET)
      return InvalidArgument("context: one of text, tokens and chat is required");
    if (request_.context_case() == v1::ScoreRequest::kChat) {
      ASSIGN_OR_RETURN(context_text_, RenderChat(model_, request_.chat()));
    } else if (request_.context_case() == v1::ScoreRequest::kText) {
      context_text_ = request_.text();
    }
    std::vector<ScoreItem> items;
    for (int i = 0; i < count; ++i) {
      auto item = Item(i);
      if (!item.ok()) return Annotate(item.status(), "continuations[" + std::to_string(i) + "]");
      items.push_back(*std::move(item));
    }
    prepared_.task.groups.push_back(std::move(items));
    RETURN_IF_ERROR(AddUnconditional());
    return std::move(prepared_);
  }

 private:
  StatusOr<ScoreItem> Item(int i) {
    const v1::Continuation& continuation = request_.continuations(i);
    SplitTokens split;
    if (request_.context_case() == v1::ScoreRequest::kTokens) {
      ASSIGN_OR_RETURN(split.context, CheckedTokens(model_, request_.tokens(), "context tokens"));
      if (split.context.empty()) {
        ASSIGN_OR_RETURN(const TokenId prefix, PrefixToken(model_));
        split.context = {prefix};
      }
      ASSIGN_OR_RETURN(split.continuation, ContinuationTokens(continuation));
    } else {
      if (continuation.content_case() != v1::Continuation::kText)
        return InvalidArgument("a text or chat context needs continuations as text");
      if (continuation.text().empty()) return InvalidArgument("expected text, found nothing");
      ASSIGN_OR_RETURN(split, SplitText(context_text_, continuation.text()));
    }
    RETURN_IF_ERROR(FitContext(&split));
    std::string text = continuation.text();
    if (continuation.content_case() == v1::Continuation::kTokens) {
      ASSIGN_OR_RETURN(text, model_.tokenizer->Decode(split.continuation, /*skip_special_tokens=*/false));
    }
    prepared_.texts.push_back(std::string(WithoutLeadingBlanks(text)));
    prepared_.context_tokens.push_back(static_cast<int32_t>(split.context.size()));
    prepared_.continuations.push_back(split.continuation);
    return Joined(split);
  }

  StatusOr<std::vector<TokenId>> ContinuationTokens(const v1::Continuation& continuation) {
    std::vector<TokenId> tokens;
    if (continuation.content_case() == v1::Continuation::kTokens) {
      ASSIGN_OR_RETURN(tokens, CheckedTokens(model_, continuation.tokens(), "tokens"));
    } else {
      ASSIGN_OR_RETURN(tokens, model_.tokenizer->Encode(continuation.text(), /*add_special_tokens=*/false));
    }
    if (tokens.empty()) return InvalidArgument("expected at least one token, found none");
    return tokens;
  }

  StatusOr<SplitTokens> SplitText(const std::string& context, const std::string& continuation) {
    if (request_.boundary() == v1::BOUNDARY_JOINT) {
      return SplitJoint(model_, context, continuation, request_.context_case() == v1::ScoreRequest::kText);
    }
    return SplitLmEval(model_, context, continuation);
  }

  static ScoreItem Joined(const SplitTokens& split) {
    ScoreItem item{split.context, static_cast<int32_t>(split.context.size())};
    item.tokens.insert(item.tokens.end(), split.continuation.begin(), split.continuation.end());
    return item;
  }

  // Drops the oldest context tokens when asked to and necessary. The engine refuses what still does not fit.
  Status FitContext(SplitTokens* split) {
    const int64_t total = static_cast<int64_t>(split->context.size() + split->continuation.size());
    const int64_t excess = total - max_positions_;
    if (excess <= 0) return OkStatus();
    if (!request_.truncate_context() || excess >= static_cast<int64_t>(split->context.size())) {
      return InvalidArgument("context and continuation have %d tokens, the model takes %d; shorten them%s", total, max_positions_,
                             request_.truncate_context() ? "" : " or set truncate_context");
    }
    split->context.erase(split->context.begin(), split->context.begin() + excess);
    prepared_.truncated_tokens = std::max(prepared_.truncated_tokens, excess);
    return OkStatus();
  }

  Status AddUnconditional() {
    if (request_.unconditional_case() == v1::ScoreRequest::UNCONDITIONAL_NOT_SET) return OkStatus();
    prepared_.has_unconditional = true;
    std::vector<ScoreItem> items;
    for (size_t i = 0; i < prepared_.continuations.size(); ++i) {
      SplitTokens split;
      const v1::Continuation& continuation = request_.continuations(static_cast<int>(i));
      if (request_.unconditional_case() == v1::ScoreRequest::kUnconditionalText && continuation.content_case() == v1::Continuation::kText) {
        ASSIGN_OR_RETURN(split, SplitText(request_.unconditional_text(), continuation.text()));
      } else {
        if (request_.unconditional_case() == v1::ScoreRequest::kUnconditionalTokens) {
          ASSIGN_OR_RETURN(split.context, CheckedTokens(model_, request_.unconditional_tokens(), "unconditional_tokens"));
        } else {
          ASSIGN_OR_RETURN(split.context, model_.tokenizer->Encode(request_.unconditional_text(), /*add_special_tokens=*/false));
        }
        if (split.context.empty()) {
          ASSIGN_OR_RETURN(const TokenId prefix, PrefixToken(model_));
          split.context = {prefix};
        }
        split.continuation = prepared_.continuations[i];
      }
      items.push_back(Joined(split));
    }
    prepared_.task.groups.push_back(std::move(items));
    return OkStatus();
  }

  const ServedModel& model_;
  const RequestLimits& limits_;
  const v1::ScoreRequest& request_;
  std::string context_text_;
  int64_t max_positions_ = 0;
  Prepared prepared_;
};

double Sum(const ScoreItemResult& item) {
  double sum = 0;
  for (const float logprob : item.logprobs) sum += logprob;
  return sum;
}

void FillScore(const ServedModel& model, const v1::ScoreRequest& request, const Prepared& prepared, const ScoreResult& result, int i,
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

v1::ScoreResponse MakeResponse(const ServedModel& model, const v1::ScoreRequest& request, const Prepared& prepared,
                               const ScoreResult& result) {
  v1::ScoreResponse response;
  response.set_id(request.id());
  for (int i = 0; i < request.continuations_size(); ++i) FillScore(model, request, prepared, result, i, response.add_scores());
  FillWinners(&response);
  FillUsage(result.usage, response.mutable_usage());
  FillTimings(result.usage, response.mutable_timings());
  const SnapshotInfo& info = result.snapshot->info();
  FillGenerations(info, response.mutable_generations());
  if (request.routes() >= v1::ROUTE_LEVEL_SUMMARY) {
    FillRoutes(result.routes, info, request.routes(), ScoreTraceTokens(prepared.task), *model.tokenizer, response.mutable_routes());
  }
  response.set_truncated_tokens(prepared.truncated_tokens);
  return response;
}

}  // namespace

void RunScore(const CallContext& context, const v1::ScoreRequest& request, SteadyTime deadline, const std::shared_ptr<CancelLink>& link,
              ScoreReply reply) {
  if (link->cancelled()) return reply(Cancelled("the client cancelled the request"));
  auto prepared = Preparation(context, request).Run();
  if (!prepared.ok()) return reply(prepared.status());
  auto kept = std::make_shared<const Prepared>(*std::move(prepared));
  ScoreTask task = kept->task;
  task.deadline = deadline;
  const ServedModel* model = context.model;
  WorkerPool* workers = context.workers;
  auto shared_reply = std::make_shared<ScoreReply>(std::move(reply));
  // `request` is only borrowed for this call: what the reply needs of it is copied.
  auto shared_request = std::make_shared<const v1::ScoreRequest>(request);
  auto submitted = model->engine->Score(std::move(task), [=](StatusOr<ScoreResult> result) {
    auto shared_result = std::make_shared<StatusOr<ScoreResult>>(std::move(result));
    workers->Post([=] {
      if (!shared_result->ok()) return (*shared_reply)(shared_result->status());
      (*shared_reply)(MakeResponse(*model, *shared_request, *kept, **shared_result));
    });
  });
  if (!submitted.ok()) return (*shared_reply)(submitted.status());
  link->Attach(model->engine, *submitted);
}

}  // namespace switchyard
