#include "server/score_task.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "server/request_text.h"
#include "server/routing_request.h"
#include "server/snapshot_choice.h"

namespace switchyard {
namespace {

// A text context under the rule the request asks for.
class TextContext {
 public:
  static StatusOr<TextContext> Create(const ServedModel& model, const v1::ScoreRequest& request, const std::string& text) {
    TextContext context(model);
    if (request.boundary() == v1::BOUNDARY_JOINT) {
      context.joint_text_ = text;
      context.prefix_special_ = request.context_case() == v1::ScoreRequest::kText;
    } else {
      ASSIGN_OR_RETURN(context.lm_eval_, PrepareLmEval(model, text));
    }
    return context;
  }
  StatusOr<LmEvalSplit> Split(const std::string& continuation) const {
    if (lm_eval_) return SplitLmEval(*model_->tokenizer, *lm_eval_, continuation);
    return SplitJoint(*model_, joint_text_, continuation, prefix_special_);
  }

 private:
  explicit TextContext(const ServedModel& model) : model_(&model) {}

  const ServedModel* model_;
  std::optional<LmEvalContext> lm_eval_;  // else the joint rule
  std::string joint_text_;
  bool prefix_special_ = false;
};

class Preparation {
 public:
  Preparation(const CallContext& context, const v1::ScoreRequest& request, const CallTerms& terms)
      : model_(*context.model), limits_(context.limits), request_(request), terms_(terms) {}

  StatusOr<PreparedScore> Run() {
    RETURN_IF_ERROR(CheckStillWanted());
    ASSIGN_OR_RETURN(const std::shared_ptr<const Snapshot> snapshot,
                     ChooseSnapshot(*model_.engine->serving(), request_.pinned(), CanaryKey(terms_, request_)));
    prepared_.task.snapshot = snapshot;
    max_positions_ = snapshot->info().max_positions;
    ASSIGN_OR_RETURN(prepared_.task.policy, PolicyOf(request_.routing(), snapshot->info()));
    RETURN_IF_ERROR(CheckForm());
    prepared_.task.deadline = terms_.deadline;
    prepared_.task.share_context = !request_.recompute_context();
    prepared_.task.use_prefix_cache = !request_.recompute_context();
    // A summary nobody asked for must not cost the cached prefix: it is of what was computed.
    prepared_.task.record_routes = request_.routes() != v1::ROUTE_LEVEL_NONE;
    prepared_.task.partial_routes = request_.routes() == v1::ROUTE_LEVEL_UNSPECIFIED;
    RETURN_IF_ERROR(ReadContext());
    std::vector<ScoreItem> items;
    for (int i = 0; i < request_.continuations_size(); ++i) {
      RETURN_IF_ERROR(CheckStillWanted());
      auto item = Item(request_.continuations(i));
      if (!item.ok()) return Annotate(item.status(), "continuations[" + std::to_string(i) + "]");
      items.push_back(*std::move(item));
    }
    prepared_.task.groups.push_back(std::move(items));
    if (prepared_.has_unconditional) RETURN_IF_ERROR(AddUnconditional());
    return std::move(prepared_);
  }

 private:
  Status CheckStillWanted() const {
    if (terms_.link->cancelled()) return Cancelled("the client cancelled the request");
    if (std::chrono::steady_clock::now() >= terms_.deadline)
      return DeadlineExceeded("the deadline passed before the request was tokenised");
    return OkStatus();
  }

  // What can be seen without a tokenizer.
  Status CheckForm() {
    RETURN_IF_ERROR(CheckId(request_.id()));
    RETURN_IF_ERROR(CheckLevel(request_.routes(), "routes"));
    if (!v1::Boundary_IsValid(request_.boundary())) {
      return InvalidArgument("boundary: %d is not a rule; expected 0 to %d", static_cast<int>(request_.boundary()),
                             static_cast<int>(v1::Boundary_MAX));
    }
    const int count = request_.continuations_size();
    if (count < 1 || count > limits_.max_continuations) {
      return InvalidArgument("continuations: expected 1 to %d, found %d", limits_.max_continuations, count);
    }
    if (request_.context_case() == v1::ScoreRequest::CONTEXT_NOT_SET)
      return InvalidArgument("context: one of text, tokens and chat is required");
    prepared_.has_unconditional = request_.unconditional_case() != v1::ScoreRequest::UNCONDITIONAL_NOT_SET;
    return OkStatus();
  }

  // The context's own encoding. A row starts from a copy of it.
  Status ReadContext() {
    if (request_.context_case() == v1::ScoreRequest::kTokens) {
      RETURN_IF_ERROR(CheckTextWork(""));
      ASSIGN_OR_RETURN(context_tokens_, CheckedTokens(model_, request_.tokens(), "context tokens"));
      if (context_tokens_.empty()) {
        ASSIGN_OR_RETURN(const TokenId prefix, PrefixToken(model_));
        context_tokens_ = {prefix};
      }
      // What no row can hold is not copied into every row first.
      const int64_t beyond = static_cast<int64_t>(context_tokens_.size()) - max_positions_;
      if (request_.truncate_context() && beyond > 0) {
        context_tokens_.erase(context_tokens_.begin(), context_tokens_.begin() + beyond);
        dropped_tokens_ = beyond;
      }
      return OkStatus();
    }
    std::string rendered;
    if (request_.context_case() == v1::ScoreRequest::kChat) {
      ASSIGN_OR_RETURN(rendered, RenderChat(model_, request_.chat()));
    }
    const std::string& text = request_.context_case() == v1::ScoreRequest::kChat ? rendered : request_.text();
    RETURN_IF_ERROR(CheckTextWork(text));
    ASSIGN_OR_RETURN(text_context_, TextContext::Create(model_, request_, text));
    return OkStatus();
  }

  // Joining the context to every continuation is quadratic in what the client sends: 16 MiB of message could be hours of work.
  Status CheckTextWork(const std::string& context) const {
    int64_t before = static_cast<int64_t>(context.size());
    if (request_.unconditional_case() == v1::ScoreRequest::kUnconditionalText)
      before += static_cast<int64_t>(request_.unconditional_text().size());
    int64_t bytes = 0;
    for (const v1::Continuation& continuation : request_.continuations()) {
      if (continuation.content_case() == v1::Continuation::kText) bytes += before + static_cast<int64_t>(continuation.text().size());
    }
    if (bytes <= limits_.max_score_text_bytes) return OkStatus();
    return InvalidArgument(
        "context and continuations: joined for each of the %d continuations they come to %d bytes, the limit is %d; "
        "send fewer continuations a request, or token ids",
        request_.continuations_size(), bytes, limits_.max_score_text_bytes);
  }

  StatusOr<ScoreItem> Item(const v1::Continuation& continuation) {
    LmEvalSplit split;
    if (!text_context_) {
      ASSIGN_OR_RETURN(split.continuation, ContinuationTokens(continuation));
      split.context = context_tokens_;
    } else {
      if (continuation.content_case() != v1::Continuation::kText)
        return InvalidArgument("a text or chat context needs continuations as text");
      if (continuation.text().empty()) return InvalidArgument("expected text, found nothing");
      ASSIGN_OR_RETURN(split, text_context_->Split(continuation.text()));
    }
    RETURN_IF_ERROR(Fit("context", dropped_tokens_, &split));
    std::string text = continuation.text();
    if (continuation.content_case() == v1::Continuation::kTokens) {
      ASSIGN_OR_RETURN(text, model_.tokenizer->Decode(split.continuation, /*skip_special_tokens=*/false));
    }
    prepared_.texts.push_back(std::string(WithoutLeadingBlanks(text)));
    prepared_.context_tokens.push_back(static_cast<int32_t>(split.context.size()));
    prepared_.continuations.push_back(split.continuation);
    return Joined(std::move(split));
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

  static ScoreItem Joined(LmEvalSplit split) {
    const auto score_from = static_cast<int32_t>(split.context.size());
    split.context.insert(split.context.end(), split.continuation.begin(), split.continuation.end());
    return {std::move(split.context), score_from};
  }

  // Drops the oldest tokens of `what` (a context, `dropped` of whose tokens are gone already) when asked to and necessary.
  Status Fit(const char* what, int64_t dropped, LmEvalSplit* split) {
    const int64_t context = dropped + static_cast<int64_t>(split->context.size());
    const int64_t total = context + static_cast<int64_t>(split->continuation.size());
    const int64_t excess = total - max_positions_;
    if (excess <= 0) return OkStatus();
    if (!request_.truncate_context() || excess >= context) {
      return InvalidArgument("%s and continuation have %d tokens, the model takes %d; shorten them%s", what, total, max_positions_,
                             request_.truncate_context() ? "" : " or set truncate_context");
    }
    split->context.erase(split->context.begin(), split->context.begin() + (excess - dropped));
    prepared_.truncated_tokens = std::max(prepared_.truncated_tokens, excess);
    return OkStatus();
  }

  // The second group, for PMI: text follows text by the boundary rule; where either is tokens, the continuation keeps those it has after
  // the context.
  Status AddUnconditional() {
    const bool has_text = request_.unconditional_case() == v1::ScoreRequest::kUnconditionalText;
    std::optional<TextContext> as_text;
    std::vector<TokenId> as_tokens;
    std::vector<ScoreItem> items;
    for (size_t i = 0; i < prepared_.continuations.size(); ++i) {
      RETURN_IF_ERROR(CheckStillWanted());
      LmEvalSplit split;
      const v1::Continuation& continuation = request_.continuations(static_cast<int>(i));
      if (has_text && continuation.content_case() == v1::Continuation::kText) {
        if (!as_text) {
          ASSIGN_OR_RETURN(as_text, TextContext::Create(model_, request_, request_.unconditional_text()));
        }
        ASSIGN_OR_RETURN(split, as_text->Split(continuation.text()));
      } else {
        if (as_tokens.empty()) {
          ASSIGN_OR_RETURN(as_tokens, UnconditionalTokens());
        }
        split = {as_tokens, prepared_.continuations[i]};
      }
      RETURN_IF_ERROR(Annotate(Fit("the unconditional context", 0, &split), "continuations[" + std::to_string(i) + "]"));
      items.push_back(Joined(std::move(split)));
    }
    prepared_.task.groups.push_back(std::move(items));
    return OkStatus();
  }

  StatusOr<std::vector<TokenId>> UnconditionalTokens() {
    std::vector<TokenId> tokens;
    if (request_.unconditional_case() == v1::ScoreRequest::kUnconditionalTokens) {
      ASSIGN_OR_RETURN(tokens, CheckedTokens(model_, request_.unconditional_tokens(), "unconditional_tokens"));
    } else {
      ASSIGN_OR_RETURN(tokens, model_.tokenizer->Encode(request_.unconditional_text(), /*add_special_tokens=*/false));
    }
    if (tokens.empty()) {
      ASSIGN_OR_RETURN(const TokenId prefix, PrefixToken(model_));
      tokens = {prefix};
    }
    return tokens;
  }

  const ServedModel& model_;
  const RequestLimits& limits_;
  const v1::ScoreRequest& request_;
  const CallTerms& terms_;
  int64_t max_positions_ = 0;
  std::optional<TextContext> text_context_;  // of a text or chat context; else the tokens
  std::vector<TokenId> context_tokens_;
  int64_t dropped_tokens_ = 0;  // of their front, already
  PreparedScore prepared_;
};

}  // namespace

StatusOr<PreparedScore> PrepareScore(const CallContext& context, const v1::ScoreRequest& request, const CallTerms& terms) {
  return Preparation(context, request, terms).Run();
}

}  // namespace switchyard
