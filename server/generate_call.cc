#include "server/generate_call.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include "server/call_gate.h"
#include "server/divergence_watch.h"
#include "server/reply_parts.h"
#include "server/request_text.h"
#include "server/routing_request.h"
#include "server/snapshot_choice.h"
#include "server/stop_matcher.h"
#include "server/wire.h"

namespace switchyard {
namespace {

v1::GenerateResponse::Reason ReasonOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStopToken:
      return v1::GenerateResponse::REASON_STOP_TOKEN;
    case FinishReason::kStopString:
      return v1::GenerateResponse::REASON_STOP_STRING;
    case FinishReason::kLength:
      return v1::GenerateResponse::REASON_LENGTH;
    case FinishReason::kCancelled:
      break;  // ends with the status CANCELLED instead
  }
  return v1::GenerateResponse::REASON_UNSPECIFIED;
}

// A finite number in [low, high], or a message naming the field. Bounds may be open where noted by the caller's values.
Status CheckNumber(const char* field, double value, double low, double high, const char* range) {
  if (std::isfinite(value) && value >= low && value <= high) return OkStatus();
  return InvalidArgument("sampling.%s: expected %s, found %g", field, range, value);
}

StatusOr<SamplingParams> SamplingOf(const v1::Sampling& wanted, const GenerationDefaults& defaults) {
  SamplingParams p;
  const bool greedy = !defaults.do_sample.value_or(defaults.temperature.has_value());
  p.temperature = wanted.has_temperature() ? wanted.temperature() : greedy ? 0.0f : defaults.temperature.value_or(1.0f);
  p.top_k = wanted.has_top_k() ? wanted.top_k() : defaults.top_k.value_or(0);
  p.top_p = wanted.has_top_p() ? wanted.top_p() : defaults.top_p.value_or(1.0f);
  p.min_p = wanted.has_min_p() ? wanted.min_p() : defaults.min_p.value_or(0.0f);
  p.repetition_penalty = wanted.has_repetition_penalty() ? wanted.repetition_penalty() : defaults.repetition_penalty.value_or(1.0f);
  p.seed = wanted.has_seed() ? wanted.seed() : (static_cast<uint64_t>(std::random_device{}()) << 32 | std::random_device{}());
  RETURN_IF_ERROR(CheckNumber("temperature", p.temperature, 0, 1e4, "0 to 10000"));
  if (p.top_k < 0) return InvalidArgument("sampling.top_k: expected >= 0, found %d", p.top_k);
  RETURN_IF_ERROR(CheckNumber("top_p", p.top_p, 1e-9, 1, "(0, 1]"));
  RETURN_IF_ERROR(CheckNumber("min_p", p.min_p, 0, 1 - 1e-9, "[0, 1)"));
  RETURN_IF_ERROR(CheckNumber("repetition_penalty", p.repetition_penalty, 1e-3, 1e3, "0.001 to 1000"));
  return p;
}

// Lives until both gRPC (OnDone) and the engine (OnDone of the sink) have let go.
class GenerateCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                           public GenerateSink,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  GenerateCall(const CallContext& context, std::shared_ptr<CallTicket> ticket, const grpc::ByteBuffer& request)
      : context_(context), model_(*context.model), ticket_(std::move(ticket)), deadline_(ticket_->Deadline()), bytes_(request) {}

  void Start() {
    self_ = shared_from_this();
    if (!ticket_->refusal().ok()) return Refuse();
    if (!context_.workers->TryPost(bytes_.Length(), [self = self_] { self->Prepare(); })) FinishWith(ResourceExhausted("%s", kBusy));
  }

  // ---------------------------------------------------------------------------------------------------------- gRPC callback threads
  void OnCancel() override { link_.Cancel(); }
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    broken_ = broken_ || !ok;  // nothing more can be sent; the call still ends only after the task
    Pump();
  }
  void OnDone() override {
    std::shared_ptr<GenerateCall> last = std::move(self_);  // may be the last owner: destroyed after this returns
  }

  // ---------------------------------------------------------------------------------------------------------- engine thread
  bool OnToken(const GeneratedToken& token) override {
    v1::GenerateResponse piece;
    piece.add_tokens(token.token);
    if (request_.has_logprobs()) FillLogProbs(token, piece.add_logprobs());
    bool go_on = true;
    if (!token.is_stop) {
      auto text = stream_->Step(token.token);
      StopMatcher::Output output = stops_->Push(text.ok() ? *text : std::string());
      piece.set_text(std::move(output.text));
      if (output.stop) {
        stop_string_ = *output.stop;
        go_on = false;
      }
    }
    ticket_->FirstResult();
    std::lock_guard lock(mutex_);
    Append(std::move(piece));
    Pump();
    return go_on;
  }

  void OnDone(StatusOr<GenerateResult> result) override {
    if (!result.ok()) {
      if (context_.divergence != nullptr) context_.divergence->Failed(asked_.snapshot, asked_.policy, result.status());
      return FinishWith(result.status());
    }
    context_.workers->Post(
        [self = shared_from_this(), result = std::make_shared<GenerateResult>(*std::move(result))] { self->Complete(*result); });
  }

 private:
  // Refused at the gate: nothing was begun.
  void Refuse() {
    ticket_->End(FromGrpc(ticket_->refusal()));
    Finish(ticket_->refusal());
  }

  // ---------------------------------------------------------------------------------------------------------- worker threads
  void Prepare() {
    if (link_.cancelled()) return FinishWith(Cancelled("the client cancelled the request"));
    if (const Status parsed = ParseRequest(std::exchange(bytes_, {}), &request_); !parsed.ok()) return FinishWith(parsed);
    auto task = MakeTask();
    if (!task.ok()) return FinishWith(task.status());
    auto submitted = model_.engine->Generate(*std::move(task), shared_from_this());
    if (!submitted.ok()) return FinishWith(submitted.status());
    link_.Attach(model_.engine, *submitted);
  }

  StatusOr<GenerateTask> MakeTask() {
    RETURN_IF_ERROR(CheckId(request_.id()));
    GenerateTask task;
    ASSIGN_OR_RETURN(task.snapshot,
                     ChooseSnapshot(*model_.engine->serving(), request_.pinned(), ticket_->key().empty() ? request_.id() : ticket_->key()));
    asked_.snapshot = task.snapshot;
    const SnapshotInfo& info = task.snapshot->info();
    ASSIGN_OR_RETURN(task.policy, PolicyOf(request_.routing(), info));
    ASSIGN_OR_RETURN(task.sampling, SamplingOf(request_.sampling(), model_.defaults));
    seed_ = task.sampling.seed;
    if (request_.max_tokens() < 0)
      return InvalidArgument("max_tokens: expected >= 0 (0: the default of 256), found %d", request_.max_tokens());
    RETURN_IF_ERROR(CheckStops());
    if (request_.has_logprobs()) {
      if (request_.logprobs() < 0 || request_.logprobs() > context_.limits.max_top_logprobs) {
        return InvalidArgument("logprobs: expected 0 to %d, found %d", context_.limits.max_top_logprobs, request_.logprobs());
      }
      task.top_logprobs = request_.logprobs();
    }
    ASSIGN_OR_RETURN(task.prompt, PromptTokens(model_, context_.limits, request_, ""));
    task.max_new_tokens = request_.max_tokens() > 0 ? request_.max_tokens() : 256;
    RETURN_IF_ERROR(FitPrompt(info, &task));
    for (const int32_t token : request_.stop_tokens()) {
      if (token < 0 || token >= info.vocab_size)
        return InvalidArgument("stop_tokens: expected ids in [0, %d), found %d", info.vocab_size, token);
      task.stop_tokens.push_back(token);
    }
    task.ignore_eos = request_.ignore_eos();
    RETURN_IF_ERROR(CheckLevel(request_.routes(), "routes"));
    task.record_routes = request_.routes() >= v1::ROUTE_LEVEL_SUMMARY;
    task.deadline = deadline_;
    prompt_ = task.prompt;
    asked_.policy = task.policy;
    stream_ = model_.tokenizer->NewDecodeStream(/*skip_special_tokens=*/true);
    stops_ = std::make_unique<StopMatcher>(std::vector<std::string>(request_.stop().begin(), request_.stop().end()));
    if (request_.echo_prompt_tokens()) pending_.mutable_prompt_tokens()->mutable_ids()->Add(prompt_.begin(), prompt_.end());
    return task;
  }

  Status CheckStops() const {
    if (request_.stop_size() > context_.limits.max_stop_strings) {
      return InvalidArgument("stop: expected at most %d strings, found %d", context_.limits.max_stop_strings, request_.stop_size());
    }
    for (const std::string& stop : request_.stop()) {
      if (stop.empty() || stop.size() > static_cast<size_t>(context_.limits.max_stop_bytes)) {
        return InvalidArgument("stop: each string must have 1 to %d bytes, found %d", context_.limits.max_stop_bytes, stop.size());
      }
    }
    return OkStatus();
  }

  // An unset max_tokens shrinks to what is left; one that was asked for must fit.
  Status FitPrompt(const SnapshotInfo& info, GenerateTask* task) {
    const int64_t room = info.max_positions - static_cast<int64_t>(task->prompt.size());
    if (room >= task->max_new_tokens) return OkStatus();
    if (request_.max_tokens() == 0 && room >= 1) {
      task->max_new_tokens = static_cast<int32_t>(room);
      return OkStatus();
    }
    // Without a wish half of the positions are left to the prompt.
    if (request_.max_tokens() == 0 && request_.truncate_prompt())
      task->max_new_tokens = std::min(task->max_new_tokens, (info.max_positions + 1) / 2);
    const int64_t excess = task->max_new_tokens - room;
    if (!request_.truncate_prompt() || excess >= static_cast<int64_t>(task->prompt.size())) {
      return InvalidArgument("prompt of %d tokens and max_tokens %d exceed the model's %d positions; shorten them%s", task->prompt.size(),
                             task->max_new_tokens, info.max_positions, request_.truncate_prompt() ? "" : " or set truncate_prompt");
    }
    task->prompt.erase(task->prompt.begin(), task->prompt.begin() + excess);
    truncated_ = excess;
    return OkStatus();
  }

  void Complete(const GenerateResult& result) {
    v1::GenerateResponse last;
    FinishReason reason = result.reason;
    if (reason != FinishReason::kStopString) {
      auto tail = stream_->Flush();
      StopMatcher::Output output = stops_->Push(tail.ok() ? *tail : std::string());
      last.set_text(output.stop ? output.text : output.text + stops_->Flush());
      if (output.stop) {
        stop_string_ = *output.stop;
        reason = FinishReason::kStopString;
      }
    }
    v1::GenerateResponse::Finish* finish = last.mutable_finish();
    finish->set_reason(ReasonOf(reason));
    finish->set_stop_string(stop_string_);
    FillUsage(result.usage, finish->mutable_usage());
    FillTimings(result.usage, finish->mutable_timings());
    const SnapshotInfo& info = result.snapshot->info();
    FillGenerations(info, finish->mutable_generations());
    ticket_->Note(*finish);
    finish->set_seed(seed_);
    finish->set_truncated_tokens(truncated_);
    asked_.tokens = prompt_;
    {
      std::lock_guard lock(mutex_);
      asked_.tokens.insert(asked_.tokens.end(), generated_.begin(), generated_.end());
      if (request_.routes() >= v1::ROUTE_LEVEL_SUMMARY)
        FillRoutes(result.routes, info, request_.routes(), asked_.tokens, *model_.tokenizer, finish->mutable_routes());
      Append(std::move(last));
      final_status_ = OkStatus();
      Pump();
    }
    if (context_.divergence != nullptr) context_.divergence->Answered(asked_);
  }

  void FillLogProbs(const GeneratedToken& token, v1::TokenLogProbs* out) const {
    const auto text = [&](TokenId id) {
      auto decoded = model_.tokenizer->Decode({id}, /*skip_special_tokens=*/false);
      return decoded.ok() ? *decoded : std::string();
    };
    out->set_token(token.token);
    out->set_text(text(token.token));
    out->set_logprob(token.logprob);
    for (const TokenLogProb& top : token.top) {
      auto* alternative = out->add_top();
      alternative->set_token(top.token);
      alternative->set_text(text(top.token));
      alternative->set_logprob(top.logprob);
    }
  }

  // ---------------------------------------------------------------------------------------------------------- any thread
  // REQUIRES mutex_. A slow reader gets several tokens in one message: what waits never exceeds one answer.
  void Append(v1::GenerateResponse piece) {
    generated_.insert(generated_.end(), piece.tokens().begin(), piece.tokens().end());
    std::string text = pending_.text() + piece.text();
    pending_.MergeFrom(piece);
    pending_.set_text(std::move(text));
    has_pending_ = has_pending_ || !pending_.text().empty() || pending_.tokens_size() > 0 || pending_.has_finish();
  }

  // Starts the next write, or finishes the call when all is written. REQUIRES mutex_: gRPC's operations are started under it, so that none
  // can follow Finish (their callbacks come from gRPC's own threads, never from inside).
  void Pump() {
    if (writing_ || done_) return;
    if (has_pending_ && !broken_) {
      pending_.set_id(request_.id());
      auto bytes = SerializeReply(pending_, context_.limits.max_reply_bytes);
      pending_.Clear();
      has_pending_ = false;
      if (bytes.ok()) {
        out_.Swap(&*bytes);
        writing_ = true;
        StartWrite(&out_);
        return;
      }
      broken_ = true;  // an answer with a hole is none: the rest is dropped too
      link_.Cancel();
      write_error_ = bytes.status();
    }
    if (!final_status_) return;
    done_ = true;
    const Status status = write_error_.ok() ? *final_status_ : write_error_;
    ticket_->End(status);
    Finish(ToGrpc(status));
  }

  // Ends the call with an error once what was generated before it is sent.
  void FinishWith(const Status& status) {
    std::lock_guard lock(mutex_);
    final_status_ = status;
    Pump();
  }

  const CallContext& context_;
  const ServedModel& model_;
  const std::shared_ptr<CallTicket> ticket_;
  const SteadyTime deadline_;
  CancelLink link_;
  std::shared_ptr<GenerateCall> self_;  // released by OnDone

  grpc::ByteBuffer bytes_;  // the request until Prepare has parsed it; shares gRPC's memory

  // Set by Prepare before the task is submitted; then used by the engine thread, then by Complete.
  v1::GenerateRequest request_;
  std::unique_ptr<DecodeStream> stream_;
  std::unique_ptr<StopMatcher> stops_;
  std::vector<TokenId> prompt_;
  RouteTask asked_;  // the same tokens by the same policy, for comparing routers
  std::string stop_string_;
  uint64_t seed_ = 0;
  int64_t truncated_ = 0;

  std::mutex mutex_;  // guards what follows
  v1::GenerateResponse pending_;
  std::vector<TokenId> generated_;
  bool has_pending_ = false, writing_ = false, broken_ = false, done_ = false;
  Status write_error_;                  // what made the answer impossible to send
  std::optional<Status> final_status_;  // the task has ended
  grpc::ByteBuffer out_;                // owned by gRPC while writing_
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartGenerate(const CallContext& context, grpc::CallbackServerContext* grpc_context,
                                                          const grpc::ByteBuffer* request) {
  auto call = std::make_shared<GenerateCall>(context, context.gate->Admit(grpc_context, "Generate", Role::kInfer), *request);
  call->Start();
  return call.get();
}

}  // namespace switchyard
