// What commands print, as golden text.
#include <string>

#include "client/generate_view.h"
#include "client/heat_map.h"
#include "client/model_command.h"
#include "client/route_view.h"
#include "client/score_view.h"
#include "client/table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace switchyard::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const Style kPlain(false);

v1::ScoreResponse TwoScores(bool pmi) {
  v1::ScoreResponse response;
  for (int i = 0; i < 2; ++i) {
    v1::ContinuationScore* score = response.add_scores();
    score->set_logprob(i == 0 ? -1.25 : -2.5);
    score->set_tokens(i + 1);
    score->set_per_token(-1.25);
    score->set_is_greedy(i == 0);
    if (pmi) score->set_pmi(i == 0 ? 0.5 : 1.5);
  }
  response.mutable_winners()->set_sum(0);
  response.mutable_winners()->set_per_token(0);
  if (pmi) response.mutable_winners()->set_pmi(1);
  return response;
}

TEST(ScoreTableTest, GoldenWithTheWinnerOfEachRuleMarked) {
  EXPECT_EQ(ScoreTable({"Paris", "Rome\n"}, TwoScores(true), kPlain),
            "choice  tokens     sum    per token      PMI    greedy\n"
            "──────  ──────  ────────  ───────────  ───────  ──────\n"
            "Paris        1  -1.250 *     -1.250 *  0.500    yes\n"
            "Rome\\n       2  -2.500       -1.250    1.500 *\n");
}

TEST(ScoreTableTest, ColumnsNobodyHasAreLeftOut) {
  const std::string table = ScoreTable({"a", "b"}, TwoScores(false), kPlain);
  EXPECT_THAT(table, Not(HasSubstr("PMI")));
  EXPECT_THAT(table, Not(HasSubstr("per byte")));
}

TEST(RouteView, GoldenProfile) {
  EXPECT_EQ(ProfileTable(FakeRoutes().profile(), kPlain),
            "expert    selections    load  weight\n"
            "────────  ──────────  ──────  ──────  ────────────────────\n"
            "law                3  50.0 %  50.0 %  ██████████··········\n"
            "medicine           2  33.3 %  33.3 %  ███████·············\n"
            "zero               1  16.7 %  16.7 %  ███·················\n"
            "6 token-layer pairs · zero share 0.167 · base mass - · entropy 0.900 nats · margin -\n");
}

TEST(RouteView, GoldenHeatMap) {
  EXPECT_EQ(HeatMap(FakeRoutes(), FakeGenerations(), kPlain, 100),
            "layer  law       medicine  zero\n"
            "    0  ██ 100 %       0 %       0 %\n"
            "    1       0 %  ▓▓  60 %  ▒▒  40 %\n"
            "nothing: 0   ░ < 25 %   ▒ < 50 %   ▓ < 75 %   █ more\n");
}

TEST(RouteView, ANarrowScreenGetsShadesUnderLetters) {
  EXPECT_EQ(HeatMap(FakeRoutes(), FakeGenerations(), kPlain, 30),
            "layer  a b c\n"
            "    0 ██\n"
            "    1   ▓▓▒▒\n"
            "a law   b medicine   c zero\n"
            "nothing: 0   ░ < 25 %   ▒ < 50 %   ▓ < 75 %   █ more\n");
}

TEST(RouteView, GoldenTokens) {
  EXPECT_EQ(TokenTable(FakeRoutes(), FakeGenerations(), kPlain),
            "#  token   strongest                entropy  least margin  first choice by layer\n"
            "─  ──────  ───────────────────────  ───────  ────────────  ─────────────────────\n"
            "0  The     law 50 %, medicine 50 %    0.500         0.125  ab\n"
            "1   court  law 50 %, medicine 50 %    0.500         0.125  ab\n"
            "2  \\n      law 50 %, zero 50 %        0.500         0.125  a·\n"
            "a law   b medicine   · zero\n");
}

TEST(RouteView, AnIndexWithoutANameIsShownAsItIs) {
  v1::Routes routes;
  v1::LayerRoute* layer = routes.add_tokens()->add_layers();
  layer->add_experts(77);
  layer->add_weights(1.0f);
  layer->add_experts(-3);  // more experts than weights: a broken reply must not crash
  EXPECT_THAT(TokenTable(routes, FakeGenerations(), kPlain), HasSubstr("#77 100 %"));
}

TEST(StyleTest, ColoursOnlyWhenEnabled) {
  EXPECT_EQ(Style(true).Dim("x"), "\x1b[2mx\x1b[0m");
  EXPECT_EQ(Style(false).Dim("x"), "x");
  EXPECT_THAT(HeatMap(FakeRoutes(), FakeGenerations(), Style(true), 100), HasSubstr("\x1b[38;5;196m██\x1b[0m 100 %"));
}

TEST(GenerateView, GoldenClosingLine) {
  v1::GenerateResponse::Finish finish;
  finish.set_reason(v1::GenerateResponse::REASON_STOP_STRING);
  finish.set_stop_string("\nQ:");
  finish.mutable_usage()->set_generated_tokens(42);
  finish.mutable_usage()->set_prompt_tokens(9);
  finish.mutable_timings()->set_tokens_per_second(18.31);
  *finish.mutable_generations() = FakeGenerations();
  finish.set_seed(7);
  EXPECT_EQ(FinishLine(finish), "42 tokens · 18.3 tok/s · stopped at \"\\nQ:\" · 9 prompt tokens · generation 5a11ab1e0000 · seed 7");
}

TEST(ModelTableTest, SaysWhatIsServedAndThatItIsUntrained) {
  v1::GetModelResponse model;
  *model.mutable_generations() = FakeGenerations();
  model.set_router_kind("dense2moe_mlp");
  model.set_top_k(2);
  model.set_layers(2);
  model.set_hidden_size(64);
  model.set_vocabulary(1000);
  model.set_untrained(true);
  const std::string text = ModelTable(model, kPlain);
  EXPECT_THAT(text, HasSubstr("fake-base"));
  EXPECT_THAT(text, HasSubstr("2 layers, hidden 64, vocabulary 1000"));
  EXPECT_THAT(text, HasSubstr("fake-router (dense2moe_mlp), top-2, generation 0deed0000000"));
  EXPECT_THAT(text, HasSubstr("2  zero      the base itself (zero)"));
  EXPECT_THAT(text, HasSubstr("Untrained:"));
}

TEST(TableTest, WideCharactersKeepColumnsStraight) {
  Table table({{"name", Align::kLeft}, {"n"}});
  table.AddRow({"世界", "1"});
  table.AddRow({"a", "22"});
  EXPECT_EQ(table.Render(kPlain, 1), " name   n\n ────  ──\n 世界   1\n a     22\n");
}

}  // namespace
}  // namespace switchyard::client
