// Generate over real gRPC, against what the fake model must say.
#include <algorithm>
#include <limits>

#include "tests/runtime/engine_fixture.h"
#include "tests/server/server_fixture.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class GenerateTest : public ServerTest {
 protected:
  // The greedy tokens of a prompt of tokens, from the oracle.
  std::vector<TokenId> Oracle(const std::vector<TokenId>& prompt, int32_t max_tokens, bool ignore_eos = true) const {
    GenerateTask task = GenerateOf(prompt, max_tokens);
    task.ignore_eos = ignore_eos;
    return OracleGenerate(task, info());
  }
  std::vector<TokenId> Encoded(const std::string& text) const { return *tokenizer_->Encode(text, /*add_special_tokens=*/true); }
  void ExpectRefused(const v1::GenerateRequest& request, grpc::StatusCode code, const std::string& words) {
    const GenerateOutcome outcome = Generate(request);
    EXPECT_EQ(outcome.status.error_code(), code) << outcome.status.error_message();
    EXPECT_THAT(outcome.status.error_message(), HasSubstr(words));
    EXPECT_TRUE(EverythingIsFree());
  }
};

TEST_F(GenerateTest, StreamsWhatTheModelSays) {
  Start();
  v1::GenerateRequest request = LongRequest("the op", 40);
  request.set_id("my id");
  request.set_echo_prompt_tokens(true);
  const GenerateOutcome outcome = Generate(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  const auto expected = Oracle(Encoded("the op"), 40);
  EXPECT_EQ(outcome.tokens, expected);
  EXPECT_EQ(outcome.text, *tokenizer_->Decode(expected, /*skip_special_tokens=*/true));
  EXPECT_EQ(outcome.prompt_tokens, Encoded("the op"));
  EXPECT_TRUE(outcome.only_last_finishes);
  EXPECT_EQ(outcome.finish.reason(), v1::GenerateResponse::REASON_LENGTH);
  EXPECT_EQ(outcome.finish.usage().prompt_tokens(), static_cast<int64_t>(Encoded("the op").size()));
  EXPECT_EQ(outcome.finish.usage().generated_tokens(), 40);
  EXPECT_GT(outcome.finish.timings().total_ms(), 0);
  EXPECT_EQ(outcome.finish.generations().snapshot(), "generation-1");
  EXPECT_EQ(outcome.finish.generations().experts_size(), 4);
  EXPECT_FALSE(outcome.finish.has_routes());
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(GenerateTest, ChatAndTokensArePromptsToo) {
  Start();
  v1::GenerateRequest request = LongRequest("", 9);
  auto* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("hi");
  EXPECT_EQ(Generate(request).tokens, Oracle(*tokenizer_->Encode("<user>hi<eos><assistant>", false), 9));
  request.clear_chat();
  for (const int id : {5, 6, 7}) request.mutable_tokens()->add_ids(id);
  EXPECT_EQ(Generate(request).tokens, Oracle({5, 6, 7}, 9));
}

TEST_F(GenerateTest, TheEosEndsTheTextUnlessIgnored) {
  Start({TestOptions()}, {.eos_tokens = {1, 9, 14, 22, 33, 41, 50}});
  v1::GenerateRequest request = LongRequest("st", 100);
  request.set_ignore_eos(false);
  const GenerateOutcome outcome = Generate(request);
  const auto expected = Oracle(Encoded("st"), 100, /*ignore_eos=*/false);
  EXPECT_EQ(outcome.tokens, expected);
  EXPECT_EQ(outcome.finish.reason(), v1::GenerateResponse::REASON_STOP_TOKEN);
  EXPECT_EQ(outcome.text, *tokenizer_->Decode({expected.begin(), expected.end() - 1}, true));
  // A stop token of the request's own.
  request.set_ignore_eos(true);
  const auto all = Oracle(Encoded("st"), 100);
  request.add_stop_tokens(all[3]);
  const auto first = std::find(all.begin(), all.end(), all[3]) - all.begin();
  EXPECT_EQ(Generate(request).tokens.size(), static_cast<size_t>(first) + 1);
}

// Wherever in the text a stop string lies, and however tokens cut it, nothing of it is sent.
TEST_F(GenerateTest, NothingOfAStopStringIsEverSent) {
  Start();
  const auto tokens = Oracle(Encoded("a "), 60);
  const std::string text = *tokenizer_->Decode(tokens, true);
  std::vector<size_t> borders;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) borders.push_back(i);
  }
  for (size_t b = 1; b + 6 < borders.size(); b += 3) {
    SCOPED_TRACE(b);
    const std::string stop = text.substr(borders[b], borders[b + 2 + b % 4] - borders[b]);
    v1::GenerateRequest request = LongRequest("a ", 60);
    request.add_stop("never appears");
    request.add_stop(stop);
    const GenerateOutcome outcome = Generate(request);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
    EXPECT_EQ(outcome.text, text.substr(0, text.find(stop)));
    EXPECT_EQ(outcome.finish.reason(), v1::GenerateResponse::REASON_STOP_STRING);
    EXPECT_EQ(outcome.finish.stop_string(), stop);
    EXPECT_LE(outcome.finish.usage().generated_tokens(), 60);
  }
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(GenerateTest, AHeldBackBeginningOfAStopStringIsSentAtTheEnd) {
  Start();
  const std::string text = *tokenizer_->Decode(Oracle(Encoded("ing"), 20), true);
  v1::GenerateRequest request = LongRequest("ing", 20);
  size_t last = text.size() - 1;  // of the last character
  while ((static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
  request.add_stop(text.substr(last) + "and more");
  const GenerateOutcome outcome = Generate(request);
  EXPECT_EQ(outcome.text, text);
  EXPECT_EQ(outcome.finish.reason(), v1::GenerateResponse::REASON_LENGTH);
}

TEST_F(GenerateTest, LogProbsComeWithTextsAndAlternatives) {
  Start();
  v1::GenerateRequest request = LongRequest("op", 6);
  request.set_logprobs(3);
  const GenerateOutcome outcome = Generate(request);
  ASSERT_EQ(outcome.logprobs.size(), 6u);
  std::vector<TokenId> before = Encoded("op");
  for (size_t i = 0; i < 6; ++i) {
    const v1::TokenLogProbs& token = outcome.logprobs[i];
    const uint64_t hash = fake::PrefixHash(info(), {}, before);
    const auto top = fake::TopLogProbs(hash, info().vocab_size, 3);
    EXPECT_EQ(token.token(), outcome.tokens[i]);
    EXPECT_EQ(token.text(), *tokenizer_->Decode({token.token()}, false));
    EXPECT_NEAR(token.logprob(), fake::LogProb(hash, info().vocab_size, token.token()).logprob, 1e-4);
    ASSERT_EQ(token.top_size(), 3);
    for (int a = 0; a < 3; ++a) EXPECT_EQ(token.top(a).token(), top[a].token);
    before.push_back(token.token());
  }
  request.set_logprobs(0);
  EXPECT_EQ(Generate(request).logprobs.at(0).top_size(), 0);
}

TEST_F(GenerateTest, ASeedIsChosenAndReportedAndRepeats) {
  Start();
  v1::GenerateRequest request = LongRequest("er", 30);
  request.mutable_sampling()->set_temperature(1.0f);
  const GenerateOutcome first = Generate(request);
  ASSERT_TRUE(first.status.ok());
  EXPECT_NE(first.finish.seed(), 0u);
  const GenerateOutcome other = Generate(request);
  EXPECT_NE(other.finish.seed(), first.finish.seed());
  EXPECT_NE(other.tokens, first.tokens);
  request.mutable_sampling()->set_seed(first.finish.seed());
  EXPECT_EQ(Generate(request).tokens, first.tokens);
}

TEST_F(GenerateTest, TheModelsOwnDefaultsCountUntilTheRequestSaysOtherwise) {
  model_.defaults.do_sample = true;
  model_.defaults.temperature = 1.5f;
  Start();
  v1::GenerateRequest request = LongRequest("er", 30);
  request.mutable_sampling()->set_seed(7);
  GenerateTask task = GenerateOf(Encoded("er"), 30);
  task.ignore_eos = true;
  task.sampling.seed = 7;
  task.sampling.temperature = 1.5f;
  EXPECT_EQ(Generate(request).tokens, OracleGenerate(task, info()));
  request.mutable_sampling()->set_temperature(0);
  EXPECT_EQ(Generate(request).tokens, Oracle(Encoded("er"), 30));
}

TEST_F(GenerateTest, DoSampleFalseIsGreedyWhateverTheTemperature) {
  model_.defaults.do_sample = false;
  model_.defaults.temperature = 1.5f;
  Start();
  EXPECT_EQ(Generate(LongRequest("er", 12)).tokens, Oracle(Encoded("er"), 12));
}

TEST_F(GenerateTest, LongPromptsAreRefusedOrTruncatedFromTheFront) {
  Start();
  std::string text;
  for (int i = 0; i < 300; ++i) text += "x";
  ExpectRefused(LongRequest(text, 10), grpc::INVALID_ARGUMENT, "301 tokens");
  v1::GenerateRequest request = LongRequest(text, 10);
  request.set_truncate_prompt(true);
  request.set_echo_prompt_tokens(true);
  const GenerateOutcome outcome = Generate(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_EQ(outcome.prompt_tokens.size(), 190u);
  EXPECT_EQ(outcome.finish.truncated_tokens(), 111);
  EXPECT_EQ(outcome.finish.usage().generated_tokens(), 10);
  request.clear_max_tokens();
  EXPECT_EQ(Generate(request).prompt_tokens.size(), 100u);
}

TEST_F(GenerateTest, AnUnsetLimitShrinksToTheRoomThereIs) {
  Start();
  v1::GenerateRequest request = LongRequest(std::string(150, 'x'), 0);
  const GenerateOutcome outcome = Generate(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_EQ(outcome.finish.usage().generated_tokens(), 200 - 151);
}

TEST_F(GenerateTest, RoutesCoverEveryComputedToken) {
  Start();
  v1::GenerateRequest request = LongRequest("st", 5);
  request.set_routes(v1::ROUTE_LEVEL_TOKEN);
  const GenerateOutcome outcome = Generate(request);
  std::vector<TokenId> all = Encoded("st");
  all.insert(all.end(), outcome.tokens.begin(), outcome.tokens.end() - 1);  // the last token was answered, not computed
  const v1::Routes& routes = outcome.finish.routes();
  ASSERT_EQ(routes.tokens_size(), static_cast<int>(all.size()));
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(routes.tokens(static_cast<int>(i)).token(), all[i]);
  EXPECT_EQ(routes.layers_size(), 3);
  EXPECT_EQ(routes.profile().rows(), all.size() * 3);
}

TEST_F(GenerateTest, BadRequestsSayWhatIsWrong) {
  Start();
  const v1::GenerateRequest good = LongRequest("x", 5);
  const auto with = [&](auto change) {
    v1::GenerateRequest request = good;
    change(&request);
    return request;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto invalid = grpc::INVALID_ARGUMENT;
  ExpectRefused(v1::GenerateRequest(), invalid, "prompt: one of text, tokens and chat");
  ExpectRefused(with([](auto* r) { r->mutable_tokens(); }), invalid, "at least one token");
  ExpectRefused(with([](auto* r) { r->mutable_tokens()->add_ids(61); }), invalid, "tokens[0]");
  ExpectRefused(with([](auto* r) { r->mutable_chat(); }), invalid, "chat.messages");
  ExpectRefused(with([&](auto* r) { r->mutable_sampling()->set_temperature(nan); }), invalid, "sampling.temperature");
  ExpectRefused(with([](auto* r) { r->mutable_sampling()->set_temperature(-1); }), invalid, "found -1");
  ExpectRefused(with([](auto* r) { r->mutable_sampling()->set_top_k(-1); }), invalid, "sampling.top_k");
  ExpectRefused(with([](auto* r) { r->mutable_sampling()->set_top_p(0); }), invalid, "sampling.top_p");
  ExpectRefused(with([](auto* r) { r->mutable_sampling()->set_min_p(1); }), invalid, "sampling.min_p");
  ExpectRefused(with([](auto* r) { r->mutable_sampling()->set_repetition_penalty(0); }), invalid, "sampling.repetition_penalty");
  ExpectRefused(with([](auto* r) { r->set_max_tokens(-1); }), invalid, "max_tokens");
  ExpectRefused(with([](auto* r) { r->set_max_tokens(2'000'000'000); }), invalid, "200 positions");
  ExpectRefused(with([](auto* r) { r->set_logprobs(21); }), invalid, "logprobs: expected 0 to 20");
  ExpectRefused(with([](auto* r) { r->add_stop(""); }), invalid, "stop");
  ExpectRefused(with([](auto* r) { r->add_stop(std::string(257, 'x')); }), invalid, "256 bytes");
  ExpectRefused(with([](auto* r) {
                  for (int i = 0; i < 17; ++i) r->add_stop("x");
                }),
                invalid, "at most 16");
  ExpectRefused(with([](auto* r) { r->add_stop_tokens(-5); }), invalid, "stop_tokens");
  ExpectRefused(with([](auto* r) { r->set_routes(static_cast<v1::RouteLevel>(77)); }), invalid, "routes: 77");
  ExpectRefused(with([](auto* r) { r->mutable_routing()->set_forced_expert("astrology"); }), grpc::NOT_FOUND, "expert-0");
  ExpectRefused(with([](auto* r) { r->mutable_pinned()->set_base("other"); }), grpc::FAILED_PRECONDITION, "pinned.base");
}

TEST_F(GenerateTest, AModelWithoutTemplateRefusesChat) {
  model_.chat_template = nullptr;
  Start();
  v1::GenerateRequest request;
  request.mutable_chat()->add_messages()->set_role("user");
  ExpectRefused(request, grpc::FAILED_PRECONDITION, "no chat template");
}

TEST_F(GenerateTest, ACancelledStreamFreesItsMemoryAtOnce) {
  Start();
  runner_->Hold();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, LongRequest("abc", 150));
  runner_->WaitUntilHeld();
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  runner_->Resume();
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(GenerateTest, APassedDeadlineFreesItsMemoryAtOnce) {
  Start();
  runner_->Hold();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(150));
  auto reader = stub_->Generate(&context, LongRequest("abc", 150));
  EXPECT_EQ(reader->Finish().error_code(), grpc::DEADLINE_EXCEEDED);
  runner_->Resume();
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(GenerateTest, AFailedStepEndsTheStreamWithItsMessage) {
  Start();
  runner_->FailStep(3);
  const GenerateOutcome outcome = Generate(LongRequest("abc", 20));
  EXPECT_EQ(outcome.status.error_code(), grpc::INTERNAL);
  EXPECT_THAT(outcome.status.error_message(), HasSubstr("told to fail"));
  EXPECT_EQ(outcome.tokens.size(), 2u);  // what was generated before is sent
  EXPECT_TRUE(EverythingIsFree());
}

// A client that does not read stalls its own stream only.
TEST_F(GenerateTest, ASlowReaderDoesNotStallOthers) {
  Start();
  grpc::ClientContext slow_context;
  auto slow = stub_->Generate(&slow_context, LongRequest("abc", 150));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Generate(LongRequest("x", 50)).status.ok());
  EXPECT_TRUE(EverythingIsFree());
  size_t tokens = 0;
  for (v1::GenerateResponse piece; slow->Read(&piece);) tokens += piece.tokens_size();
  EXPECT_EQ(tokens, 150u);
  EXPECT_TRUE(slow->Finish().ok());
}

}  // namespace
}  // namespace switchyard
