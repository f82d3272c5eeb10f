#include "server/trace_context.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

constexpr char kGood[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceContext, ReadsAValidHeader) {
  const auto parsed = ParseTraceParent(kGood);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(parsed->parent_id, "00f067aa0ba902b7");
  EXPECT_TRUE(parsed->sampled);
  EXPECT_FALSE(ParseTraceParent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")->sampled);
  EXPECT_TRUE(ParseTraceParent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0b")->sampled);
}

TEST(TraceContext, ALaterVersionMayGoOnAfterADash) {
  const std::string later = "cc" + std::string(kGood).substr(2);
  EXPECT_TRUE(ParseTraceParent(later));
  EXPECT_TRUE(ParseTraceParent(later + "-what-the-future-brings"));
  EXPECT_FALSE(ParseTraceParent(later + "x"));
}

TEST(TraceContext, RefusesEverythingElse) {
  const std::string good = kGood;
  for (const std::string& bad : {std::string(), good.substr(0, 54), good + "-", good + "0", "ff" + good.substr(2), "0G" + good.substr(2),
                                 std::string("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
                                 std::string("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"),
                                 std::string("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
                                 std::string("00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                                 std::string("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0 ")})
    EXPECT_FALSE(ParseTraceParent(bad)) << bad;
}

}  // namespace
}  // namespace switchyard
