#include "engine/runtime/generate_state.h"

#include <algorithm>

#include "engine/runtime/route_fold.h"

namespace switchyard {
namespace {

std::unordered_set<TokenId> StopTokens(const GenerateTask& task, const SnapshotInfo& info) {
  std::unordered_set<TokenId> stops(task.stop_tokens.begin(), task.stop_tokens.end());
  if (!task.ignore_eos) stops.insert(info.eos_tokens.begin(), info.eos_tokens.end());
  return stops;
}

}  // namespace

std::unique_ptr<GenerateState> GenerateState::Create(TaskTicket ticket, GenerateTask task, std::shared_ptr<GenerateSink> sink) {
  return std::unique_ptr<GenerateState>(
      new GenerateState(std::move(ticket), std::make_unique<GenerateTask>(std::move(task)), std::move(sink)));
}

GenerateState::GenerateState(TaskTicket ticket, std::unique_ptr<GenerateTask> task, std::shared_ptr<GenerateSink> sink)
    : TaskState(std::move(ticket), *task, /*use_prefix_cache=*/true),
      task_(std::move(task)),
      sink_(std::move(sink)),
      stop_tokens_(StopTokens(*task_, ticket_.snapshot->info())),
      sampler_(task_->sampling, task_->prompt),
      tokens_(task_->prompt) {
  usage_.prompt_tokens = static_cast<int64_t>(tokens_.size());
  result_.snapshot = ticket_.snapshot;
}

int32_t GenerateState::WorstCaseBlocks(const KvCache& cache) const {
  // The last token is answered, never computed.
  return cache.BlocksFor(static_cast<int64_t>(task_->prompt.size()) + task_->max_new_tokens - 1);
}

void GenerateState::OpenSequences(KvLease* lease) {
  // The prompt's last row is computed in any case: its logits are wanted.
  sequence_.emplace(lease, KvSequence::Options{.key = publish_key(), .lookup_tokens = LookupLimit(task_->prompt.size() - 1)});
  usage_.cached_tokens = sequence_->TakeCached(tokens_);
}

bool GenerateState::decoding() const { return usage_.generated_tokens > 0; }

StatusOr<int32_t> GenerateState::Plan(int32_t budget, StepPlan* plan) {
  if (!decoding()) usage_.cached_tokens += sequence_->TakeCached(tokens_);
  const int32_t wanted = static_cast<int32_t>(tokens_.size()) - sequence_->length();
  planned_rows_ = std::min(wanted, budget);
  RETURN_IF_ERROR(sequence_->Prepare(planned_rows_));
  const auto new_tokens = std::span(tokens_).subspan(sequence_->length(), planned_rows_);
  segment_ = plan->AddSegment(new_tokens, sequence_->slots(sequence_->length() + planned_rows_), task_->policy, task_->record_routes);
  logits_ = -1;
  top_logprobs_ = -1;
  if (planned_rows_ == wanted) {
    const int32_t last_row = plan->rows() - 1;
    logits_ = plan->AddLogits(last_row);
    if (task_->top_logprobs > 0) top_logprobs_ = plan->AddTopLogProbs(last_row, task_->top_logprobs);
  }
  return planned_rows_;
}

StatusOr<bool> GenerateState::Apply(const StepResult& result, SteadyTime now) {
  sequence_->Commit(tokens_, planned_rows_);
  usage_.computed_tokens += planned_rows_;
  if (task_->record_routes) RETURN_IF_ERROR(AppendTrace(result.routes[segment_], &result_.routes.trace));
  if (logits_ < 0) return false;
  return TakeToken(result, now);
}

StatusOr<bool> GenerateState::TakeToken(const StepResult& result, SteadyTime now) {
  const std::vector<float>& logits = result.logits[logits_];
  GeneratedToken next;
  ASSIGN_OR_RETURN(next.token, sampler_.Next(logits, static_cast<int64_t>(tokens_.size())));
  next.is_stop = IsStop(next.token);
  if (task_->top_logprobs >= 0) next.logprob = logits[next.token] - result.log_sum_exps[logits_];
  if (top_logprobs_ >= 0) next.top = result.top_logprobs[top_logprobs_];
  tokens_.push_back(next.token);
  ++usage_.generated_tokens;
  MarkFirstResult(now);

  const bool go_on = sink_->OnToken(next);
  if (next.is_stop) {
    result_.reason = FinishReason::kStopToken;
  } else if (!go_on) {
    result_.reason = FinishReason::kStopString;
  } else if (usage_.generated_tokens == task_->max_new_tokens) {
    result_.reason = FinishReason::kLength;
  } else {
    return false;
  }
  return true;
}

bool GenerateState::IsStop(TokenId token) const { return stop_tokens_.contains(token); }

void GenerateState::Complete(SteadyTime now) {
  MarkEnd(now);
  result_.usage = usage_;
  if (task_->record_routes) result_.routes.counts = CountTrace(result_.routes.trace, ticket_.snapshot->info());
  sink_->OnDone(std::move(result_));
}

void GenerateState::Fail(const Status& status) { sink_->OnDone(status); }

}  // namespace switchyard
