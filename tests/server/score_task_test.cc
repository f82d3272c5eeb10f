// What a ScoreRequest becomes before the engine sees it, and how much tokenising that takes.
#include "server/score_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "tests/server/fake_tokenizer.h"
#include "tests/testing/fake_model_runner.h"

namespace switchyard {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The fake tokenizer, telling what it was asked to encode.
class WatchedTokenizer final : public Tokenizer {
 public:
  StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override {
    encoded.emplace_back(text);
    if (on_encode) on_encode();
    return inner.Encode(text, add_special_tokens);
  }
  StatusOr<std::vector<EncodedToken>> EncodeWithOffsets(std::string_view text, bool add_special_tokens) const override {
    encoded.emplace_back(text);
    if (on_encode) on_encode();
    return inner.EncodeWithOffsets(text, add_special_tokens);
  }
  StatusOr<std::string> Decode(const std::vector<int32_t>& tokens, bool skip_special_tokens) const override {
    return inner.Decode(tokens, skip_special_tokens);
  }
  std::unique_ptr<DecodeStream> NewDecodeStream(bool skip) const override { return inner.NewDecodeStream(skip); }
  int32_t vocab_size() const override { return inner.vocab_size(); }
  std::optional<int32_t> TokenToId(std::string_view token) const override { return inner.TokenToId(token); }

  FakeTokenizer inner;
  mutable std::vector<std::string> encoded;
  std::function<void()> on_encode;
};

class ScoreTaskTest : public ::testing::Test {
 protected:
  ScoreTaskTest() {
    model_.engine = engine_.get();
    model_.tokenizer = tokenizer_;
    context_.model = &model_;
  }
  StatusOr<PreparedScore> Prepare(const v1::ScoreRequest& request) const {
    tokenizer_->encoded.clear();
    return PrepareScore(context_, request, terms_);
  }
  static v1::ScoreRequest TextRequest(const std::string& context, const std::vector<std::string>& continuations) {
    v1::ScoreRequest request;
    request.set_text(context);
    for (const std::string& text : continuations) request.add_continuations()->set_text(text);
    return request;
  }
  std::ptrdiff_t TimesEncoded(const std::string& text) const { return std::ranges::count(tokenizer_->encoded, text); }

  FakeModelRunner runner_;
  std::unique_ptr<Engine> engine_ = *Engine::Create({}, &runner_);
  std::shared_ptr<WatchedTokenizer> tokenizer_ = std::make_shared<WatchedTokenizer>();
  ServedModel model_;
  CallContext context_;
  CallTerms terms_;
};

TEST_F(ScoreTaskTest, AContextIsEncodedOnceByItselfHoweverManyContinuations) {
  v1::ScoreRequest request = TextRequest("the op ", {"a", "b", "st", "er"});
  request.set_unconditional_text("ing");
  ASSERT_TRUE(Prepare(request).ok());
  EXPECT_EQ(TimesEncoded("the op"), 1);
  EXPECT_EQ(TimesEncoded("ing"), 1);
  EXPECT_THAT(tokenizer_->encoded, Contains("the op a"));
  EXPECT_THAT(tokenizer_->encoded, Contains("inger"));
  EXPECT_EQ(tokenizer_->encoded.size(), 2u + 2 * 4);
}

// The harness's own words: context_enc = encode(context); continuation_enc = encode(context + continuation)[len(context_enc):], after the
// context's trailing blanks went to the continuation.
TEST_F(ScoreTaskTest, RowsAreThoseOfTheHarnessForAnyText) {
  std::mt19937 random(7);
  const auto text = [&](int pieces) {
    std::string made;
    for (int i = 0; i < pieces; ++i) made += std::string_view("abc the op stingr. \n")[random() % 20];
    return made;
  };
  int compared = 0;
  for (int round = 0; round < 300; ++round) {
    const std::string context = text(1 + static_cast<int>(random() % 12));
    std::vector<std::string> continuations;
    for (int i = 0; i < 3; ++i) continuations.push_back(text(1 + static_cast<int>(random() % 6)));
    const auto prepared = Prepare(TextRequest(context, continuations));
    if (!prepared.ok()) {  // a merge swallowed a continuation: the harness would score nothing
      EXPECT_THAT(std::string(Message(prepared.status())), HasSubstr("no token of its own"));
      continue;
    }
    const size_t end = context.find_last_not_of(" \n") + 1;
    const std::string kept = context.substr(0, end), moved = context.substr(end);
    for (int i = 0; i < 3; ++i) {
      std::vector<TokenId> expected = kept.empty() ? std::vector<TokenId>{FakeTokenizer::kEos} : *tokenizer_->inner.Encode(kept, false);
      const size_t from = expected.size();
      const auto whole = *tokenizer_->inner.Encode(context + continuations[i], false);
      expected.insert(expected.end(), whole.begin() + (kept.empty() ? 0 : from), whole.end());
      EXPECT_EQ(prepared->task.groups[0][i].tokens, expected) << context << "|" << continuations[i];
      EXPECT_EQ(prepared->task.groups[0][i].score_from, static_cast<int32_t>(from));
      ++compared;
    }
  }
  EXPECT_GT(compared, 500);
}

TEST_F(ScoreTaskTest, TooMuchTextIsRefusedBeforeAnythingIsEncoded) {
  context_.limits.max_score_text_bytes = 1000;
  v1::ScoreRequest request = TextRequest(std::string(99, 'x'), std::vector<std::string>(10, "a"));
  EXPECT_TRUE(Prepare(request).ok());  // 1000 bytes
  request.add_continuations()->set_text("a");
  const auto refused = Prepare(request);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(refused.status())), HasSubstr("11 continuations they come to 1100 bytes, the limit is 1000"));
  EXPECT_THAT(tokenizer_->encoded, IsEmpty());

  // Unconditional text counts with the context, also where that is tokens.
  v1::ScoreRequest tokens;
  tokens.mutable_tokens()->add_ids(3);
  for (int i = 0; i < 11; ++i) tokens.add_continuations()->set_text("a");
  EXPECT_TRUE(Prepare(tokens).ok());
  tokens.set_unconditional_text(std::string(99, 'x'));
  EXPECT_THAT(std::string(Message(Prepare(tokens).status())), HasSubstr("1100 bytes"));
}

TEST_F(ScoreTaskTest, CancellationEndsTheTokenisingBetweenTwoContinuations) {
  int calls = 0;
  tokenizer_->on_encode = [&] {
    if (++calls == 3) terms_.link->Cancel();
  };
  EXPECT_EQ(Prepare(TextRequest("the", std::vector<std::string>(100, " a"))).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(tokenizer_->encoded.size(), 3u);
  EXPECT_EQ(Prepare(TextRequest("the", {" a"})).status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(tokenizer_->encoded, IsEmpty());
}

TEST_F(ScoreTaskTest, CancellationEndsTheUnconditionalRowsToo) {
  int calls = 0;
  tokenizer_->on_encode = [&] {
    if (++calls == 5) terms_.link->Cancel();  // the context, two rows, the unconditional context, its first row
  };
  v1::ScoreRequest request = TextRequest("the", {" a", " b"});
  request.set_unconditional_text("op");
  EXPECT_EQ(Prepare(request).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(ScoreTaskTest, ThePassedDeadlineEndsTheTokenising) {
  terms_.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  tokenizer_->on_encode = [&] {
    while (std::chrono::steady_clock::now() < terms_.deadline) std::this_thread::yield();
  };
  EXPECT_EQ(Prepare(TextRequest("the", std::vector<std::string>(100, " a"))).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LE(tokenizer_->encoded.size(), 1u);
}

TEST_F(ScoreTaskTest, ALongTokenContextKeepsItsEnd) {
  const int64_t positions = engine_->snapshot()->info().max_positions;
  v1::ScoreRequest request;
  for (int i = 0; i < 3 * positions; ++i) request.mutable_tokens()->add_ids(3 + i % 50);
  request.add_continuations()->mutable_tokens()->add_ids(5);
  request.add_continuations()->mutable_tokens()->add_ids(6);
  request.mutable_continuations(1)->mutable_tokens()->add_ids(7);
  EXPECT_THAT(std::string(Message(Prepare(request).status())), HasSubstr(std::to_string(3 * positions + 1) + " tokens"));
  request.set_truncate_context(true);
  const auto prepared = Prepare(request);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->truncated_tokens, 2 * positions + 2);
  for (int i = 0; i < 2; ++i) {
    const ScoreItem& item = prepared->task.groups[0][i];
    EXPECT_EQ(static_cast<int64_t>(item.tokens.size()), positions);
    EXPECT_EQ(item.score_from, positions - 1 - i);
    EXPECT_EQ(item.tokens[item.score_from - 1], 3 + (3 * positions - 1) % 50);
  }
}

}  // namespace
}  // namespace switchyard
