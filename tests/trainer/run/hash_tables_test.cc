#include "trainer/run/hash_tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

namespace switchyard::trainer {
namespace {

std::vector<int32_t> Table(const std::string& rule, const std::vector<int64_t>& counts, int32_t experts, int32_t layer = 0,
                           uint64_t seed = 1) {
  auto table = MakeHashTable({.table = rule, .seed = seed}, counts, experts, layer);
  EXPECT_TRUE(table.ok()) << table.status();
  return *table;
}

std::vector<int64_t> LoadOf(const std::vector<int32_t>& table, const std::vector<int64_t>& counts, int32_t experts) {
  std::vector<int64_t> load(experts);
  for (size_t id = 0; id < table.size(); ++id) load[table[id]] += counts[id];
  return load;
}

// As words are: the i-th most frequent id comes 6000 / i times.
std::vector<int64_t> Zipf(int64_t size) {
  std::vector<int64_t> counts;
  for (int64_t i = 0; i < size; ++i) counts.push_back(6000 / ((i * 37) % size + 1));
  return counts;
}

TEST(HashTablesTest, BalancedGivesEveryExpertAsManyTokens) {
  const std::vector<int64_t> counts = Zipf(300), load = LoadOf(Table("balanced", counts, 4), counts, 4);
  const auto [least, most] = std::minmax_element(load.begin(), load.end());
  EXPECT_GT(*most, 6000);  // no expert can have less than the most frequent id
  EXPECT_LE(*most - *least, 20);
}

// Ids the data never shows are dealt out as well.
TEST(HashTablesTest, BalancedSpreadsUnseenIds) {
  std::vector<int64_t> counts(101);
  counts[0] = 1;
  std::vector<int64_t> ids(5);
  for (const int32_t expert : Table("balanced", counts, 5)) ++ids[expert];
  EXPECT_GE(*std::min_element(ids.begin(), ids.end()), 1);
  EXPECT_EQ(std::accumulate(ids.begin(), ids.end(), int64_t{0}), 101);
}

TEST(HashTablesTest, FrequencyMakesBands) {
  // Half of the tokens are id 2; a quarter each are {1} and {0, 3}.
  EXPECT_THAT(Table("frequency", {3, 8, 16, 5}, 2), ::testing::ElementsAre(1, 1, 0, 1));
  EXPECT_THAT(Table("frequency", {3, 8, 16, 5}, 4), ::testing::ElementsAre(3, 2, 1, 3));
  EXPECT_EQ(Table("frequency", {3, 8, 16, 5}, 4, 0), Table("frequency", {3, 8, 16, 5}, 4, 7));
}

TEST(HashTablesTest, RandomGivesEveryExpertAsManyIdsAndNeedsNoData) {
  std::map<int32_t, int> ids;
  for (const int32_t expert : Table("random", std::vector<int64_t>(100), 5)) ++ids[expert];
  for (int32_t e = 0; e < 5; ++e) EXPECT_EQ(ids[e], 20) << e;
}

TEST(HashTablesTest, DrawnBySeedAndLayer) {
  const std::vector<int64_t> counts = Zipf(200);
  for (const char* rule : {"balanced", "random"}) {
    EXPECT_EQ(Table(rule, counts, 4), Table(rule, counts, 4)) << rule;
    EXPECT_NE(Table(rule, counts, 4), Table(rule, counts, 4, /*layer=*/1)) << rule;
    EXPECT_NE(Table(rule, counts, 4), Table(rule, counts, 4, 0, /*seed=*/2)) << rule;
  }
}

TEST(HashTablesTest, RefusesWhatItCannotMake) {
  const std::vector<int64_t> none(10);
  EXPECT_EQ(MakeHashTable({.table = "clever"}, none, 2, 0).status().code(), absl::StatusCode::kInvalidArgument);
  for (const char* rule : {"balanced", "frequency"}) {
    const Status refused = MakeHashTable({.table = rule}, none, 2, 0).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("--data"));
  }
}

TEST(HashTablesTest, CountsTokens) {
  Dataset data;
  data.examples = {{{1, 2, 2}, 1, 0}, {{0, 2}, 1, 0}};
  const auto counts = CountTokens(data, 4);
  ASSERT_TRUE(counts.ok());
  EXPECT_THAT(*counts, ::testing::ElementsAre(1, 1, 3, 0));
  EXPECT_EQ(CountTokens(data, 2).status().code(), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace switchyard::trainer
