#include "bench/rpc_calls.h"

#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <random>
#include <utility>

#include "server/score_task.h"

namespace switchyard::bench {
namespace {

constexpr int kContext = 200, kContinuations = 4, kContinuation = 10, kPrompt = 32, kGenerated = 64;

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}
template <typename T>
T Take(StatusOr<T> result) {
  if (!result.ok()) Die(result.status().ToString());
  return *std::move(result);
}
void Check(const grpc::Status& status) {
  if (!status.ok()) Die(status.error_message());
}

using Random = std::mt19937_64;
std::vector<TokenId> RandomTokens(Random& random, int count, int vocabulary) {
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % vocabulary);
  return tokens;
}
// Common short words: about a token each.
std::string RandomWords(Random& random, int count) {
  constexpr std::string_view kWords[] = {" the", " city", " of",  " light", " and",  " a",    " river",
                                         " was", " in",   " old", " house", " with", " many", " people"};
  std::string text;
  for (int i = 0; i < count; ++i) text += kWords[random() % std::size(kWords)];
  return text;
}
void Set(const std::vector<TokenId>& from, v1::TokenIds* to) { to->mutable_ids()->Add(from.begin(), from.end()); }
int Vocabulary(const Ends& ends) { return ends.model->engine->snapshot()->info().vocab_size; }
void SetMode(RoutingPolicy::Mode mode, v1::Routing* routing) {
  if (mode == RoutingPolicy::Mode::kBaseOnly) routing->mutable_base_only();
}
RoutingPolicy PolicyOfMode(RoutingPolicy::Mode mode) {
  RoutingPolicy policy;
  policy.mode = mode;
  return policy;
}

// ------------------------------------------------------------------------------------------------------------------------------ Score

CallOutcome RunScoreTask(Engine& engine, ScoreTask task) {
  std::promise<StatusOr<ScoreResult>> promise;
  Take(engine.Score(std::move(task), [&](StatusOr<ScoreResult> result) { promise.set_value(std::move(result)); }));
  const ScoreResult result = Take(promise.get_future().get());
  CallOutcome outcome{result.usage.timings.total_ms, {}};
  for (const ScoreItemResult& item : result.groups[0]) {
    double sum = 0;
    for (const float logprob : item.logprobs) sum += logprob;
    outcome.figures.push_back(sum);
  }
  return outcome;
}

PreparedScore Prepared(const Ends& ends, const v1::ScoreRequest& request) {
  CallContext context;
  context.model = ends.model;
  return Take(PrepareScore(context, request, CallTerms{}));
}

Call ScoreOverGrpc(const Ends& ends, std::shared_ptr<const std::vector<v1::ScoreRequest>> requests) {
  return [=](int index) {
    grpc::ClientContext context;
    v1::ScoreResponse response;
    Check(ends.stub->Score(&context, (*requests)[index], &response));
    CallOutcome outcome{response.timings().total_ms(), {}};
    for (const v1::ContinuationScore& score : response.scores()) outcome.figures.push_back(score.logprob());
    return outcome;
  };
}

// --------------------------------------------------------------------------------------------------------------------------- Generate

class WaitingSink final : public GenerateSink {
 public:
  // `stream`: every token is made text as well; null for none.
  explicit WaitingSink(std::unique_ptr<DecodeStream> stream) : stream_(std::move(stream)) {}
  bool OnToken(const GeneratedToken& token) override {
    tokens_.push_back(token.token);
    if (stream_ != nullptr) text_ += Take(stream_->Step(token.token));
    return true;
  }
  void OnDone(StatusOr<GenerateResult> result) override { done_.set_value(std::move(result)); }
  CallOutcome Wait() {
    const GenerateResult result = Take(done_.get_future().get());
    if (stream_ != nullptr) text_ += Take(stream_->Flush());
    return {result.usage.timings.total_ms, std::vector<double>(tokens_.begin(), tokens_.end())};
  }

 private:
  std::unique_ptr<DecodeStream> stream_;
  std::vector<TokenId> tokens_;
  std::string text_;
  std::promise<StatusOr<GenerateResult>> done_;
};

CallOutcome RunGenerateTask(Engine& engine, std::vector<TokenId> prompt, RoutingPolicy::Mode mode, std::unique_ptr<DecodeStream> stream) {
  GenerateTask task;
  task.policy = PolicyOfMode(mode);
  task.prompt = std::move(prompt);
  task.max_new_tokens = kGenerated;
  task.ignore_eos = true;
  auto sink = std::make_shared<WaitingSink>(std::move(stream));
  Take(engine.Generate(std::move(task), sink));
  return sink->Wait();
}

v1::GenerateRequest GenerateBase(RoutingPolicy::Mode mode) {
  v1::GenerateRequest request;
  request.set_max_tokens(kGenerated);
  request.set_ignore_eos(true);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_sampling()->set_repetition_penalty(1);
  SetMode(mode, request.mutable_routing());
  return request;
}

Call GenerateOverGrpc(const Ends& ends, std::shared_ptr<const std::vector<v1::GenerateRequest>> requests) {
  return [=](int index) {
    grpc::ClientContext context;
    auto reader = ends.stub->Generate(&context, (*requests)[index]);
    CallOutcome outcome;
    for (v1::GenerateResponse piece; reader->Read(&piece);) {
      outcome.figures.insert(outcome.figures.end(), piece.tokens().begin(), piece.tokens().end());
      if (piece.has_finish()) outcome.engine_ms = piece.finish().timings().total_ms();
    }
    Check(reader->Finish());
    return outcome;
  };
}

std::string NameOf(RoutingPolicy::Mode mode) { return mode == RoutingPolicy::Mode::kBaseOnly ? "base" : "learned"; }

}  // namespace

CallPair ScoreOfTokens(const Ends& ends, int count) {
  Random random(1);
  auto tasks = std::make_shared<std::vector<ScoreTask>>();
  auto requests = std::make_shared<std::vector<v1::ScoreRequest>>(count);
  for (v1::ScoreRequest& request : *requests) {
    Set(RandomTokens(random, kContext, Vocabulary(ends)), request.mutable_tokens());
    for (int c = 0; c < kContinuations; ++c)
      Set(RandomTokens(random, kContinuation, Vocabulary(ends)), request.add_continuations()->mutable_tokens());
    tasks->push_back(Prepared(ends, request).task);
  }
  Engine* engine = ends.model->engine;
  return {"Score 200 + 4x10, ids", [=](int index) { return RunScoreTask(*engine, (*tasks)[index]); }, ScoreOverGrpc(ends, requests), 0};
}

CallPair ScoreOfText(const Ends& ends, int count) {
  Random random(2);
  auto requests = std::make_shared<std::vector<v1::ScoreRequest>>(count);
  for (v1::ScoreRequest& request : *requests) {
    request.set_text(RandomWords(random, kContext));
    for (int c = 0; c < kContinuations; ++c) request.add_continuations()->set_text(RandomWords(random, kContinuation));
  }
  Call in_process = [=](int index) { return RunScoreTask(*ends.model->engine, Prepared(ends, (*requests)[index]).task); };
  return {"Score 200 + 4x10, text", std::move(in_process), ScoreOverGrpc(ends, requests), 0};
}

CallPair GenerateFromTokens(const Ends& ends, int count, RoutingPolicy::Mode mode) {
  Random random(3);
  auto prompts = std::make_shared<std::vector<std::vector<TokenId>>>();
  auto requests = std::make_shared<std::vector<v1::GenerateRequest>>(count, GenerateBase(mode));
  for (v1::GenerateRequest& request : *requests) {
    prompts->push_back(RandomTokens(random, kPrompt, Vocabulary(ends)));
    Set(prompts->back(), request.mutable_tokens());
  }
  Call in_process = [=](int index) { return RunGenerateTask(*ends.model->engine, (*prompts)[index], mode, nullptr); };
  return {"Generate 32 + 64, ids, " + NameOf(mode), std::move(in_process), GenerateOverGrpc(ends, requests), kGenerated};
}

CallPair GenerateFromText(const Ends& ends, int count, RoutingPolicy::Mode mode) {
  Random random(4);
  auto requests = std::make_shared<std::vector<v1::GenerateRequest>>(count, GenerateBase(mode));
  for (v1::GenerateRequest& request : *requests) request.set_text(RandomWords(random, kPrompt));
  Call in_process = [=](int index) {
    const Tokenizer& tokenizer = *ends.model->tokenizer;
    return RunGenerateTask(*ends.model->engine, Take(tokenizer.Encode((*requests)[index].text(), /*add_special_tokens=*/true)), mode,
                           tokenizer.NewDecodeStream(/*skip_special_tokens=*/true));
  };
  return {"Generate 32 + 64, text, " + NameOf(mode), std::move(in_process), GenerateOverGrpc(ends, requests), kGenerated};
}

CallPair RouteOfTokens(const Ends& ends, int count, RoutingPolicy::Mode mode) {
  Random random(5);
  auto tasks = std::make_shared<std::vector<RouteTask>>(count);
  auto requests = std::make_shared<std::vector<v1::RouteRequest>>(count);
  for (int i = 0; i < count; ++i) {
    RouteTask& task = (*tasks)[i];
    task.policy = PolicyOfMode(mode);
    task.record_routes = true;
    task.tokens = RandomTokens(random, kContext, Vocabulary(ends));
    Set(task.tokens, (*requests)[i].mutable_tokens());
    SetMode(mode, (*requests)[i].mutable_routing());
  }
  Call in_process = [=](int index) {
    std::promise<StatusOr<RouteResult>> promise;
    Take(ends.model->engine->Route((*tasks)[index], [&](StatusOr<RouteResult> result) { promise.set_value(std::move(result)); }));
    const RouteResult result = Take(promise.get_future().get());
    return CallOutcome{result.usage.timings.total_ms, {static_cast<double>(result.usage.computed_tokens)}};
  };
  Call over_grpc = [=](int index) {
    grpc::ClientContext context;
    v1::RouteResponse response;
    Check(ends.stub->Route(&context, (*requests)[index], &response));
    return CallOutcome{response.timings().total_ms(), {static_cast<double>(response.usage().computed_tokens())}};
  };
  return {"Route 200, ids", std::move(in_process), std::move(over_grpc), 0};
}

}  // namespace switchyard::bench
