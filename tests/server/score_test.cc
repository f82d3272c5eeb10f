// Score over real gRPC, against what the fake model must say.
#include <thread>

#include "tests/runtime/engine_fixture.h"
#include "tests/server/server_fixture.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class ScoreTest : public ServerTest {
 protected:
  // The oracle's scores of one context with token continuations.
  std::vector<ScoreItemResult> Oracle(const std::vector<TokenId>& context, const std::vector<std::vector<TokenId>>& continuations,
                                      const RoutingPolicy& policy = {}) const {
    ScoreTask task = ScoreOf(context, continuations);
    task.policy = policy;
    return OracleScore(task, info())[0];
  }
  static double Sum(const ScoreItemResult& item) {
    double sum = 0;
    for (const float logprob : item.logprobs) sum += logprob;
    return sum;
  }
  std::vector<TokenId> Encoded(const std::string& text) const { return *tokenizer_->Encode(text, false); }
  v1::ScoreResponse Scored(const v1::ScoreRequest& request) {
    v1::ScoreResponse response;
    const grpc::Status status = Score(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  void ExpectRefused(const v1::ScoreRequest& request, grpc::StatusCode code, const std::string& words) {
    v1::ScoreResponse response;
    const grpc::Status status = Score(request, &response);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(words));
    EXPECT_TRUE(EverythingIsFree());
  }
};

TEST_F(ScoreTest, SumsTheContinuationsTokensAndNormalisesEveryWay) {
  Start();
  v1::ScoreRequest request = ScoreOfText("the op", {" a", " ing st", " é "});
  request.set_id("q1");
  request.set_token_logprobs(true);
  const v1::ScoreResponse response = Scored(request);
  EXPECT_EQ(response.id(), "q1");
  ASSERT_EQ(response.scores_size(), 3);
  const std::vector<std::vector<TokenId>> continuations = {Encoded(" a"), Encoded(" ing st"), Encoded(" é ")};
  const auto expected = Oracle(Encoded("the op"), continuations);
  for (int i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    const v1::ContinuationScore& score = response.scores(i);
    EXPECT_NEAR(score.logprob(), Sum(expected[i]), 1e-6);
    EXPECT_EQ(score.is_greedy(), expected[i].is_greedy);
    EXPECT_EQ(score.tokens(), static_cast<int>(continuations[i].size()));
    EXPECT_NEAR(score.per_token(), score.logprob() / score.tokens(), 1e-12);
    EXPECT_NEAR(score.per_character(), score.logprob() / score.characters(), 1e-12);
    EXPECT_NEAR(score.per_byte(), score.logprob() / score.bytes(), 1e-12);
    EXPECT_FALSE(score.has_pmi());
    EXPECT_EQ(score.context_tokens(), static_cast<int>(Encoded("the op").size()));
    ASSERT_EQ(score.token_logprobs_size(), score.tokens());
    for (int t = 0; t < score.tokens(); ++t) {
      EXPECT_EQ(score.token_logprobs(t).token(), continuations[i][t]);
      EXPECT_EQ(score.token_logprobs(t).logprob(), expected[i].logprobs[t]);
    }
  }
  // Lengths leave out leading blanks only.
  EXPECT_EQ(response.scores(0).characters(), 1);
  EXPECT_EQ(response.scores(1).bytes(), 6);
  EXPECT_EQ(response.scores(2).characters(), 2);
  EXPECT_EQ(response.scores(2).bytes(), 3);
  EXPECT_EQ(response.generations().snapshot(), "generation-1");
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(ScoreTest, WinnersAreTheBestByEachRuleAndTheFirstOfEquals) {
  Start();
  const v1::ScoreResponse response = Scored(ScoreOfText("st", {"op the ing", "x", "op the ing", "x"}));
  const auto best = [&](auto figure) {
    int best = 0;
    for (int i = 1; i < 4; ++i) {
      if (figure(response.scores(i)) > figure(response.scores(best))) best = i;
    }
    return best;
  };
  EXPECT_LT(response.winners().sum(), 2);
  EXPECT_EQ(response.winners().sum(), best([](const auto& s) { return s.logprob(); }));
  EXPECT_EQ(response.winners().per_token(), best([](const auto& s) { return s.per_token(); }));
  EXPECT_EQ(response.winners().per_character(), best([](const auto& s) { return s.per_character(); }));
  EXPECT_EQ(response.winners().per_byte(), best([](const auto& s) { return s.per_byte(); }));
  EXPECT_FALSE(response.winners().has_pmi());
}

TEST_F(ScoreTest, AnUndefinedNormalisationIsAbsentAndHasNoWinner) {
  Start();
  const v1::ScoreResponse response = Scored(ScoreOfText("st", {" ", "x"}));
  EXPECT_FALSE(response.scores(0).has_per_character());
  EXPECT_FALSE(response.scores(0).has_per_byte());
  EXPECT_TRUE(response.scores(0).has_per_token());
  EXPECT_FALSE(response.winners().has_per_character());
  EXPECT_TRUE(response.winners().has_per_token());
}

TEST_F(ScoreTest, PmiSubtractsTheScoreAfterTheUnconditionalContext) {
  Start();
  v1::ScoreRequest request = ScoreOfText("the op", {" a", " ing"});
  request.set_unconditional_text("st ");  // its blank moves to the continuation: "st" then "  a"
  const v1::ScoreResponse response = Scored(request);
  const auto with = Oracle(Encoded("the op"), {Encoded(" a"), Encoded(" ing")});
  const auto without = Oracle(Encoded("st"), {Encoded("  a"), Encoded("  ing")});
  for (int i = 0; i < 2; ++i) EXPECT_NEAR(response.scores(i).pmi(), Sum(with[i]) - Sum(without[i]), 1e-6);
  EXPECT_EQ(response.winners().pmi(), response.scores(1).pmi() > response.scores(0).pmi() ? 1 : 0);
  // Tokens: the same continuation after other tokens.
  request.mutable_unconditional_tokens()->add_ids(7);
  const auto after_token = Oracle({7}, {Encoded(" a"), Encoded(" ing")});
  EXPECT_NEAR(Scored(request).scores(1).pmi(), Sum(with[1]) - Sum(after_token[1]), 1e-6);
}

TEST_F(ScoreTest, TheTwoBoundaryRulesDifferWhereAMergeCrossesTheBorder) {
  Start();
  v1::ScoreRequest request = ScoreOfText("xa", {"b c"});
  EXPECT_NEAR(Scored(request).scores(0).logprob(), Sum(Oracle(Encoded("xa"), {Encoded(" c")})[0]), 1e-6);
  request.set_boundary(v1::BOUNDARY_JOINT);
  const v1::ScoreResponse joint = Scored(request);
  EXPECT_NEAR(joint.scores(0).logprob(), Sum(Oracle({FakeTokenizer::kBos, tokenizer_->Id("x")}, {Encoded("ab c")})[0]), 1e-6);
  EXPECT_EQ(joint.scores(0).context_tokens(), 2);
}

TEST_F(ScoreTest, ContextsAsTokensAndAsChat) {
  Start();
  v1::ScoreRequest request;
  for (const int id : {4, 5, 6}) request.mutable_tokens()->add_ids(id);
  request.add_continuations()->set_text("the");
  for (const int id : {9, 8}) request.add_continuations()->mutable_tokens()->add_ids(id);
  const v1::ScoreResponse response = Scored(request);
  const auto expected = Oracle({4, 5, 6}, {Encoded("the"), {9}, {8}});
  ASSERT_EQ(response.scores_size(), 3);
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(response.scores(i).logprob(), Sum(expected[i]), 1e-6);

  v1::ScoreRequest chat;
  auto* message = chat.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("hi");
  chat.add_continuations()->set_text("op");
  EXPECT_NEAR(Scored(chat).scores(0).logprob(), Sum(Oracle(Encoded("<user>hi<eos><assistant>"), {Encoded("op")})[0]), 1e-6);
}

TEST_F(ScoreTest, AnEmptyContextIsOneToken) {
  Start();
  const auto expected = Oracle({FakeTokenizer::kEos}, {Encoded("the")});
  EXPECT_NEAR(Scored(ScoreOfText("", {"the"})).scores(0).logprob(), Sum(expected[0]), 1e-6);
}

TEST_F(ScoreTest, TheContextIsComputedOnceUnlessAskedOtherwise) {
  Start();
  v1::ScoreRequest request = ScoreOfText(std::string(60, 'x'), {"the", "op", "st", "er"});
  const v1::ScoreResponse shared = Scored(request);
  request.set_recompute_context(true);
  const v1::ScoreResponse apart = Scored(request);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(shared.scores(i).logprob(), apart.scores(i).logprob());
  EXPECT_LT(shared.usage().computed_tokens(), 70);
  EXPECT_GE(apart.usage().computed_tokens(), 4 * 60);
}

TEST_F(ScoreTest, TooLongIsAnErrorAndTruncationARequest) {
  Start();
  v1::ScoreRequest request = ScoreOfText(std::string(230, 'x'), {"the"});
  ExpectRefused(request, grpc::INVALID_ARGUMENT, "continuations[0]: context and continuation have 231 tokens, the model takes 200");
  request.set_truncate_context(true);
  const v1::ScoreResponse response = Scored(request);
  EXPECT_EQ(response.truncated_tokens(), 31);
  EXPECT_EQ(response.scores(0).context_tokens(), 199);
  EXPECT_NEAR(response.scores(0).logprob(), Sum(Oracle(std::vector<TokenId>(199, tokenizer_->Id("x")), {Encoded("the")})[0]), 1e-6);
  request.mutable_continuations(0)->set_text(std::string(250, 'x'));
  ExpectRefused(request, grpc::INVALID_ARGUMENT, "shorten them");
}

TEST_F(ScoreTest, RoutesNameTheTokenOfEveryComputedRow) {
  Start();
  v1::ScoreRequest request = ScoreOfText("the op", {" a", " ing st"});
  request.set_routes(v1::ROUTE_LEVEL_TOKEN);
  const v1::ScoreResponse response = Scored(request);
  // The shared context, then each continuation but its last token, which no row follows.
  std::vector<TokenId> expected = Encoded("the op");
  const auto second = Encoded(" ing st");
  expected.insert(expected.end(), second.begin(), second.end() - 1);
  ASSERT_EQ(response.routes().tokens_size(), static_cast<int>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(response.routes().tokens(static_cast<int>(i)).token(), expected[i]);
}

TEST_F(ScoreTest, ASummaryOfTheComputedTokensComesUnaskedAndLeavesTheCacheAlone) {
  Start();
  v1::ScoreRequest request = ScoreOfText(std::string(60, 'x'), {"the", "op"});
  const uint64_t layers = info().num_layers;
  const v1::ScoreResponse first = Scored(request);
  EXPECT_EQ(first.routes().profile().rows(), layers * first.usage().computed_tokens());
  EXPECT_EQ(first.routes().profile().experts_size(), static_cast<int>(info().experts.size()));
  EXPECT_EQ(first.routes().layers_size(), 0);
  EXPECT_EQ(first.routes().tokens_size(), 0);

  const v1::ScoreResponse second = Scored(request);
  EXPECT_GT(second.usage().cached_tokens(), 0);
  EXPECT_EQ(second.routes().profile().rows(), layers * second.usage().computed_tokens());
  EXPECT_LT(second.routes().profile().rows(), first.routes().profile().rows());

  request.set_routes(v1::ROUTE_LEVEL_SUMMARY);  // asked for: of every token
  const v1::ScoreResponse asked = Scored(request);
  EXPECT_EQ(asked.usage().cached_tokens(), 0);
  EXPECT_EQ(asked.routes().profile().rows(), first.routes().profile().rows());

  request.set_routes(v1::ROUTE_LEVEL_NONE);
  EXPECT_FALSE(Scored(request).has_routes());
}

TEST_F(ScoreTest, RoutingOfTheRequestChangesTheScores) {
  Start();
  v1::ScoreRequest request = ScoreOfText("the", {" a"});
  request.mutable_routing()->set_forced_expert("expert-1");
  RoutingPolicy forced;
  forced.mode = RoutingPolicy::Mode::kForced;
  forced.forced = 1;
  EXPECT_NEAR(Scored(request).scores(0).logprob(), Sum(Oracle(Encoded("the"), {Encoded(" a")}, forced)[0]), 1e-6);
}

TEST_F(ScoreTest, BadRequestsSayWhatIsWrong) {
  Start();
  const v1::ScoreRequest good = ScoreOfText("the", {" a"});
  const auto with = [&](auto change) {
    v1::ScoreRequest request = good;
    change(&request);
    return request;
  };
  const auto invalid = grpc::INVALID_ARGUMENT;
  ExpectRefused(with([](auto* r) { r->clear_text(); }), invalid, "context: one of text, tokens and chat");
  ExpectRefused(with([](auto* r) { r->clear_continuations(); }), invalid, "expected 1 to 256, found 0");
  ExpectRefused(with([](auto* r) {
                  for (int i = 0; i < 256; ++i) r->add_continuations()->set_text("x");
                }),
                invalid, "found 257");
  ExpectRefused(with([](auto* r) { r->add_continuations(); }), invalid, "continuations[1]");
  ExpectRefused(with([](auto* r) { r->add_continuations()->set_text(""); }), invalid, "continuations[1]");
  ExpectRefused(with([](auto* r) { r->add_continuations()->mutable_tokens()->add_ids(3); }), invalid, "continuations as text");
  ExpectRefused(with([](auto* r) { r->mutable_tokens()->add_ids(99); }), invalid, "found 99");
  ExpectRefused(with([](auto* r) { r->set_boundary(static_cast<v1::Boundary>(5)); }), invalid, "boundary: 5");
  ExpectRefused(with([](auto* r) { r->mutable_unconditional_tokens()->add_ids(-2); }), invalid, "unconditional_tokens[0]");
  ExpectRefused(with([](auto* r) { r->mutable_routing()->set_forced_expert("astrology"); }), grpc::NOT_FOUND, "astrology");
  ExpectRefused(with([](auto* r) { r->mutable_pinned()->set_snapshot("old"); }), grpc::FAILED_PRECONDITION, "served is generation-1");
}

TEST_F(ScoreTest, AFullQueueIsResourceExhausted) {
  ServerOptions options = TestOptions();
  options.engine.max_queued_tasks = 1;
  options.engine.max_running_tasks = 1;
  Start(options);
  runner_->Hold();
  grpc::ClientContext running;
  auto reader = stub_->Generate(&running, LongRequest("abc", 20));
  runner_->WaitUntilHeld();
  grpc::ClientContext waiting;
  auto second = stub_->Generate(&waiting, LongRequest("abc", 20));
  while (engine_->stats().queued_tasks == 0) std::this_thread::yield();
  v1::ScoreResponse response;
  const grpc::Status refused = Score(ScoreOfText("the", {" a"}), &response);
  EXPECT_EQ(refused.error_code(), grpc::RESOURCE_EXHAUSTED) << refused.error_message();
  runner_->Resume();
  for (v1::GenerateResponse piece; reader->Read(&piece);) {
  }
  for (v1::GenerateResponse piece; second->Read(&piece);) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(second->Finish().ok());
  EXPECT_TRUE(Score(ScoreOfText("the", {" a"}), &response).ok());
}

TEST_F(ScoreTest, APassedDeadlineFreesEverything) {
  Start();
  runner_->Hold();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(150));
  v1::ScoreResponse response;
  EXPECT_EQ(stub_->Score(&context, ScoreOfText("the", {" a"}), &response).error_code(), grpc::DEADLINE_EXCEEDED);
  runner_->Resume();
  EXPECT_TRUE(EverythingIsFree());
}

}  // namespace
}  // namespace switchyard
