#include "client/routing_option.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace switchyard::client {
namespace {

TEST(RoutingOption, EveryFormBecomesItsMessage) {
  EXPECT_TRUE(ParseRouting("learned")->has_learned());
  EXPECT_TRUE(ParseRouting("base")->has_base_only());
  EXPECT_EQ(ParseRouting("expert=law")->forced_expert(), "law");
  const auto mixture = ParseRouting("mixture=a:0.5,b:0.25");
  ASSERT_TRUE(mixture.ok()) << mixture.status();
  EXPECT_FLOAT_EQ(mixture->mixture().weights().at("a"), 0.5f);
  EXPECT_FLOAT_EQ(mixture->mixture().weights().at("b"), 0.25f);
  EXPECT_THAT(ParseRouting("mask=a,b")->learned().masked_experts(), ::testing::ElementsAre("a", "b"));
}

TEST(RoutingOption, NamesThePartThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {{"random", "expected learned | base"},
                                                       {"expert=", "expected learned | base"},
                                                       {"base=x", "expected learned | base"},
                                                       {"mixture=a", "expected NAME:WEIGHT, found \"a\""},
                                                       {"mixture=a:x", "weight of a must be a number"},
                                                       {"mixture=a:-0.1", "weight of a must be a number"},
                                                       {"mixture=a:nan", "weight of a must be a number"},
                                                       {"mixture=a:0.5,a:0.1", "a is named twice"},
                                                       {"mixture=a:0.7,b:0.7", "add up to 1.4"},
                                                       {"mask=a,,b", "expected NAME,NAME"}};
  for (const auto& [text, message] : cases) {
    const auto routing = ParseRouting(text);
    ASSERT_FALSE(routing.ok()) << text;
    EXPECT_THAT(std::string(Message(routing.status())), ::testing::HasSubstr(message)) << text;
  }
}

TEST(RouteLevel, TakesItsFourNames) {
  EXPECT_EQ(*ParseRouteLevel("token"), v1::ROUTE_LEVEL_TOKEN);
  EXPECT_FALSE(ParseRouteLevel("tokens").ok());
}

}  // namespace
}  // namespace switchyard::client
