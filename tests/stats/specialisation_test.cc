#include "engine/stats/specialisation.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

constexpr double kTolerance = 5e-7;

TEST(StatsSpecialisation, EqualsThePublishedVector) {
  const TaskCounts counts{.num_experts = 3, .num_tasks = 2, .counts = {30, 5, 10, 15, 0, 20}};
  const Specialisation result = ComputeSpecialisation(counts);
  EXPECT_NEAR(result.per_expert[0].value(), .408327, kTolerance);
  EXPECT_NEAR(result.per_expert[1].value(), .029049, kTolerance);
  EXPECT_NEAR(result.per_expert[2].value(), 1, kTolerance);
  EXPECT_NEAR(result.mutual_information.value(), .303405, kTolerance);
  EXPECT_NEAR(result.explained.value(), .437721, kTolerance);
  EXPECT_NEAR(result.normalised.value(), .352020, kTolerance);
}

TEST(StatsSpecialisation, AnIdleExpertHasNone) {
  const Specialisation result = ComputeSpecialisation({.num_experts = 2, .num_tasks = 2, .counts = {4, 4, 0, 0}});
  EXPECT_NEAR(result.per_expert[0].value(), 0, kTolerance);
  EXPECT_FALSE(result.per_expert[1].has_value());
  EXPECT_NEAR(result.mean.value(), 0, kTolerance);
  EXPECT_FALSE(result.normalised.has_value());  // H(expert) is 0
}

TEST(StatsSpecialisation, AbsentForOneTaskAndForNoCounts) {
  EXPECT_FALSE(ComputeSpecialisation({.num_experts = 2, .num_tasks = 1, .counts = {4, 4}}).mean.has_value());
  const Specialisation nothing = ComputeSpecialisation({.num_experts = 2, .num_tasks = 2, .counts = {0, 0, 0, 0}});
  EXPECT_FALSE(nothing.mean.has_value());
  EXPECT_FALSE(nothing.mutual_information.has_value());
}

TEST(StatsSpecialisation, BalancingRemovesTheSizeOfTasks) {
  const TaskCounts big_task{.num_experts = 2, .num_tasks = 2, .counts = {100, 1, 100, 1}};
  EXPECT_GT(ComputeSpecialisation(big_task).per_expert[0].value(), 0.9);
  EXPECT_NEAR(ComputeSpecialisation(Balanced(big_task)).per_expert[0].value(), 0, kTolerance);
}

TEST(StatsSpecialisation, LiftIsRelativeToTheExpertsOwnShare) {
  const auto lift = Lift({.num_experts = 2, .num_tasks = 2, .counts = {3, 1, 1, 3}});
  EXPECT_NEAR(lift[0].value(), 1.5, kTolerance);
  EXPECT_NEAR(lift[1].value(), 0.5, kTolerance);
  EXPECT_FALSE(Lift({.num_experts = 1, .num_tasks = 2, .counts = {3, 0}})[1].has_value());
}

}  // namespace
}  // namespace switchyard
