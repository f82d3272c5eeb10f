#include "server/tenant_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/fake_clock.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class TenantLimitsTest : public ::testing::Test {
 protected:
  // How many of `wanted` requests one after another are let through.
  static int Admitted(TenantLimits& limits, const std::string& tenant, int wanted) {
    int admitted = 0;
    for (int i = 0; i < wanted; ++i) admitted += limits.Request(limits.Find(tenant)).has_value() ? 0 : 1;
    return admitted;
  }
  static TenantLimits::Usage UsageOf(const TenantLimits& limits, const std::string& tenant) {
    for (const auto& usage : limits.usage()) {
      if (usage.tenant == tenant) return usage;
    }
    ADD_FAILURE() << tenant;
    return {};
  }
  FakeClock clock_;
};

TEST_F(TenantLimitsTest, RequestsASecondWithABurst) {
  TenantOptions options;
  options.others = {2, 5, 0, 0};
  TenantLimits limits(options, &clock_);
  EXPECT_EQ(Admitted(limits, "a", 10), 5);
  const auto refusal = limits.Request(limits.Find("a"));
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->retry_after.count(), 500);
  EXPECT_THAT(refusal->message, HasSubstr("tenant a"));
  EXPECT_THAT(refusal->message, HasSubstr("500 ms"));
  EXPECT_EQ(Admitted(limits, "b", 10), 5);  // an account of its own
  clock_.AdvanceMs(499);
  EXPECT_EQ(Admitted(limits, "a", 1), 0);
  clock_.AdvanceMs(1);
  EXPECT_EQ(Admitted(limits, "a", 2), 1);
  clock_.AdvanceMs(3'600'000);
  EXPECT_EQ(Admitted(limits, "a", 10), 5);  // no more than the burst, however long the pause
}

TEST_F(TenantLimitsTest, RequestsAtOnce) {
  TenantOptions options;
  options.others = {0, 0, 2, 0};
  TenantLimits limits(options, &clock_);
  const auto a = limits.Find("a");
  EXPECT_FALSE(limits.Enter(a));
  EXPECT_FALSE(limits.Enter(a));
  const auto refusal = limits.Enter(a);
  ASSERT_TRUE(refusal);
  EXPECT_GT(refusal->retry_after.count(), 0);
  limits.Leave(a);
  EXPECT_FALSE(limits.Enter(a));
  EXPECT_EQ(UsageOf(limits, "(other)").running, 2);
  EXPECT_EQ(UsageOf(limits, "(other)").refused_concurrency, 1u);
}

TEST_F(TenantLimitsTest, TokensAMinuteAreChargedAfterwardsAndHaveToBePaidBack) {
  TenantOptions options;
  options.named["a"] = {0, 0, 0, 600};  // ten a second
  TenantLimits limits(options, &clock_);
  const auto a = limits.Find("a");
  EXPECT_FALSE(limits.Request(a));
  limits.ChargeTokens(a, 700);
  const auto refusal = limits.Request(a);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->retry_after.count(), 10100);  // 100 below zero, and one to begin with
  clock_.AdvanceMs(10099);
  EXPECT_TRUE(limits.Request(a));
  clock_.AdvanceMs(1);
  EXPECT_FALSE(limits.Request(a));
  EXPECT_EQ(UsageOf(limits, "a").tokens, 700u);
  EXPECT_EQ(UsageOf(limits, "a").refused_tokens, 2u);
  EXPECT_EQ(UsageOf(limits, "a").admitted, 2u);
  limits.ChargeTokens(limits.Find("free"), 1'000'000'000);
  EXPECT_FALSE(limits.Request(limits.Find("free")));  // no limit
}

TEST_F(TenantLimitsTest, AccountsAreBoundedWhateverNamesAreMadeUp) {
  TenantOptions options;
  options.max_tenants = 10;
  options.others = {1, 1, 0, 0};
  options.named["known"] = {0, 0, 0, 0};
  TenantLimits limits(options, &clock_);
  int admitted = 0;
  for (int i = 0; i < 1000; ++i) admitted += Admitted(limits, "t" + std::to_string(i), 1);
  EXPECT_EQ(limits.accounts(), 10u);
  EXPECT_EQ(admitted, 11);                         // ten accounts, and the one all the others share
  EXPECT_EQ(Admitted(limits, "known", 100), 100);  // has its own all the same
  clock_.AdvanceMs(1000);                          // now all are idle and make room
  EXPECT_EQ(Admitted(limits, "new", 1), 1);
  EXPECT_LE(limits.accounts(), 10u);
  EXPECT_EQ(limits.usage().size(), 2u);  // known and (other): what the metrics have labels for
}

TEST_F(TenantLimitsTest, ARunningCallKeepsItsAccount) {
  TenantOptions options;
  options.max_tenants = 1;
  options.others = {0, 0, 1, 0};
  TenantLimits limits(options, &clock_);
  EXPECT_FALSE(limits.Enter(limits.Find("a")));
  limits.Find("b");  // takes no room from a
  EXPECT_TRUE(limits.Enter(limits.Find("a")));
  limits.Leave(limits.Find("a"));
  EXPECT_FALSE(limits.Enter(limits.Find("a")));
}

}  // namespace
}  // namespace switchyard
