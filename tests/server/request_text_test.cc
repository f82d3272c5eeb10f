#include "server/request_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/fake_tokenizer.h"
#include "tests/testing/fake_model_runner.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RequestTextTest : public ::testing::Test {
 protected:
  RequestTextTest() {
    model_.engine = engine_.get();
    model_.tokenizer = tokenizer_;
    model_.chat_template = std::make_shared<FakeChatTemplate>();
  }
  std::vector<std::string> Pieces(const std::vector<TokenId>& ids) const {
    std::vector<std::string> pieces;
    for (const TokenId id : ids) pieces.push_back(tokenizer_->piece(id));
    return pieces;
  }

  StatusOr<LmEvalSplit> LmEval(std::string_view context, std::string_view continuation) const {
    ASSIGN_OR_RETURN(const LmEvalContext prepared, PrepareLmEval(model_, context));
    return SplitLmEval(*model_.tokenizer, prepared, continuation);
  }

  FakeModelRunner runner_;
  std::unique_ptr<Engine> engine_ = *Engine::Create({}, &runner_);
  std::shared_ptr<FakeTokenizer> tokenizer_ = std::make_shared<FakeTokenizer>();
  ServedModel model_;
};

TEST_F(RequestTextTest, LmEvalKeepsTheContextsOwnTokensWhenAMergeCrossesTheBorder) {
  // encode("xa") is x, a; encode("xab c") is x, ab, " ", c: the harness feeds x, a and then what follows the first two tokens.
  const auto split = LmEval("xa", "b c");
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(Pieces(split->context), ElementsAre("x", "a"));
  EXPECT_THAT(Pieces(split->continuation), ElementsAre(" ", "c"));
}

TEST_F(RequestTextTest, LmEvalMovesTrailingBlanksToTheContinuation) {
  const auto split = LmEval("x \n ", "b");
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(Pieces(split->context), ElementsAre("x"));
  EXPECT_THAT(Pieces(split->continuation), ElementsAre(" ", "\n", " b"));
}

TEST_F(RequestTextTest, LmEvalTakesForBlankWhatPythonStrips) {
  const auto split = LmEval("x\u3000\u00a0", "b");
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(Pieces(split->context), ElementsAre("x"));
  // U+200B is no blank for Python.
  EXPECT_GT(LmEval("x\u200b", "b")->context.size(), 1u);
}

TEST_F(RequestTextTest, AnEmptyContextIsBosOrEos) {
  for (const char* context : {"", "  "}) {
    const auto split = LmEval(context, "the");
    ASSERT_TRUE(split.ok()) << split.status();
    EXPECT_THAT(split->context, ElementsAre(FakeTokenizer::kEos));  // the fake model names no BOS
    EXPECT_EQ(Pieces(split->continuation).back(), "the");
  }
}

TEST_F(RequestTextTest, AContinuationSwallowedByTheContextIsRefused) {
  // encode("ab") + encode("abc")[1:] leaves nothing to score.
  const auto split = LmEval("ab", "c");
  EXPECT_EQ(split.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RequestTextTest, JointGivesATokenAcrossTheBorderToTheContinuation) {
  const auto split = SplitJoint(model_, "xa", "b c", /*prefix_special=*/false);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(Pieces(split->context), ElementsAre("x"));
  EXPECT_THAT(Pieces(split->continuation), ElementsAre("ab", " ", "c"));
}

TEST_F(RequestTextTest, JointLeavesBlanksWhereTheyAre) {
  const auto split = SplitJoint(model_, "x ", "cb", /*prefix_special=*/true);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(Pieces(split->context), ElementsAre("<bos>", "x", " "));
  EXPECT_THAT(Pieces(split->continuation), ElementsAre("c", "b"));
}

TEST_F(RequestTextTest, JointPutsEosBeforeATextThatIsAllContinuation) {
  const auto split = SplitJoint(model_, "a", "bc", /*prefix_special=*/false);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(split->context, ElementsAre(FakeTokenizer::kEos));
  EXPECT_THAT(Pieces(split->continuation), ElementsAre("abc"));
}

TEST_F(RequestTextTest, CountsCharactersAndDropsLeadingBlanks) {
  EXPECT_EQ(CountCharacters("aé€"), 3);
  EXPECT_EQ(CountCharacters(""), 0);
  EXPECT_EQ(WithoutLeadingBlanks(" \n\té x "), "é x ");
  EXPECT_EQ(WithoutLeadingBlanks("  "), "");
}

TEST_F(RequestTextTest, TokensOutsideTheVocabularyAreNamed) {
  v1::TokenIds ids;
  ids.add_ids(3);
  ids.add_ids(-1);
  const auto tokens = CheckedTokens(model_, ids, "tokens");
  EXPECT_EQ(tokens.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(tokens.status())), HasSubstr("tokens[1]: expected a token id in [0, 61), found -1"));
}

TEST_F(RequestTextTest, TextBeyondTheBoundIsRefusedBeforeItIsTokenised) {
  RequestLimits limits;
  limits.max_prompt_text_bytes = 10;
  v1::RouteRequest request;
  request.set_text("12345");
  EXPECT_TRUE(PromptTokens(model_, limits, request, "67890").ok());
  const auto refused = PromptTokens(model_, limits, request, "678901");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(refused.status())), HasSubstr("expected at most 10 bytes of text (max_prompt_text_kib), found 11"));
  auto* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("0123456789");
  EXPECT_EQ(PromptTokens(model_, limits, request, "").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RequestTextTest, IdsAreShort) {
  EXPECT_TRUE(CheckId(std::string(256, 'x')).ok());
  EXPECT_THAT(std::string(Message(CheckId(std::string(257, 'x')))), HasSubstr("id: expected at most 256 bytes, found 257"));
}

TEST_F(RequestTextTest, PromptsOfAllThreeKinds) {
  v1::GenerateRequest request;
  EXPECT_EQ(PromptTokens(model_, {}, request, "").status().code(), absl::StatusCode::kInvalidArgument);
  request.set_text("x");
  EXPECT_THAT(Pieces(*PromptTokens(model_, {}, request, "ab")), ElementsAre("<bos>", "x", "ab"));
  request.set_add_special_tokens(false);
  EXPECT_THAT(Pieces(*PromptTokens(model_, {}, request, "ab")), ElementsAre("x", "ab"));
  request.mutable_tokens()->add_ids(tokenizer_->Id("x"));
  EXPECT_THAT(Pieces(*PromptTokens(model_, {}, request, "ab")), ElementsAre("x", "ab"));
  request.mutable_chat();
  EXPECT_EQ(PromptTokens(model_, {}, request, "").status().code(), absl::StatusCode::kInvalidArgument);
  auto* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("hi");
  EXPECT_THAT(*PromptTokens(model_, {}, request, ""), *tokenizer_->Encode("<user>hi<eos><assistant>", false));
  request.mutable_chat()->set_add_generation_prompt(false);
  EXPECT_THAT(*PromptTokens(model_, {}, request, ""), *tokenizer_->Encode("<user>hi<eos>", false));
  message->set_role("nobody");
  EXPECT_THAT(std::string(Message(PromptTokens(model_, {}, request, "").status())), HasSubstr("nobody"));
}

}  // namespace
}  // namespace switchyard
