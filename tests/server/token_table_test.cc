#include "server/token_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/artifact/sha256.h"
#include "server/authorization.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kAlice[] = "alice-token-0123456789abcdef", kRoot[] = "root-token-0123456789abcdef";

std::string Entry(const std::string& name, const std::string& token, const std::string& roles, const std::string& more = "") {
  return R"({"name": ")" + name + R"(", "sha256": ")" + Sha256Hex(token) + R"(", "roles": [)" + roles + "]" + more + "}";
}
std::string File(const std::string& entries) { return R"({"tokens": [)" + entries + "]}"; }

TEST(TokenTable, FindsTheEntryOfAToken) {
  const auto table = TokenTable::Parse(
      File(Entry("alice", kAlice, R"("infer")") + "," + Entry("root", kRoot, R"("infer", "admin", "metrics")", R"(, "tenant": "ops")")),
      "t");
  ASSERT_TRUE(table.ok()) << table.status();
  const TokenTable::Entry* alice = table->Find(kAlice);
  ASSERT_NE(alice, nullptr);
  EXPECT_EQ(alice->name, "alice");
  EXPECT_EQ(alice->tenant, "alice");
  EXPECT_TRUE(alice->Has(Role::kInfer));
  EXPECT_FALSE(alice->Has(Role::kAdmin));
  EXPECT_EQ(table->Find(kRoot)->RoleNames(), "infer, admin, metrics");
  EXPECT_EQ(table->Find(kRoot)->tenant, "ops");
  EXPECT_EQ(table->Find("alice-token-0123456789abcdeg"), nullptr);
  EXPECT_EQ(table->Find(""), nullptr);
  EXPECT_EQ(table->Find(Sha256Hex(kAlice)), nullptr);  // the hash is no token
}

TEST(TokenTable, RefusesWhatIsNotStrictlyATableAndQuotesNoSecret) {
  const std::string good = Entry("alice", kAlice, R"("infer")");
  for (const std::string& bad :
       {std::string("{"), std::string("[]"), std::string("{}"), std::string(R"({"tokens": {}})"),
        std::string(R"({"tokens": [], "more": 1})"), File("3"), File(good + "," + good),
        File(good + "," + Entry("bob", kAlice, R"("infer")")), File(Entry("a b", kRoot, R"("infer")")),
        File(Entry("", kRoot, R"("infer")")), File(Entry("bob", kRoot, "")), File(Entry("bob", kRoot, R"("root")")),
        File(Entry("bob", kRoot, "1")), File(Entry("bob", kRoot, R"("infer")", R"(, "tenant": "a/b")")),
        File(Entry("bob", kRoot, R"("infer")", R"(, "token": "root-token")")),
        File(R"({"name": "bob", "sha256": "root-token", "roles": ["infer"]})"),
        File(R"({"name": "bob", "name": "root-token", "roles": ["infer"]})"), File(R"({"root-token": 1})"),
        File(R"({"name": "root-token here", "roles": ["infer"]})")}) {
    const auto table = TokenTable::Parse(bad, "tokens.json");
    ASSERT_FALSE(table.ok()) << bad;
    EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(Message(table.status())), HasSubstr("tokens.json"));
    EXPECT_THAT(std::string(Message(table.status())), Not(HasSubstr("root-token"))) << bad;
  }
}

TEST(TokenTable, ReadsTheHeader) {
  EXPECT_EQ(BearerToken("Bearer abc"), "abc");
  EXPECT_EQ(BearerToken("bearer abc"), "abc");
  for (const char* none : {"", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc"}) EXPECT_FALSE(BearerToken(none)) << none;
  EXPECT_FALSE(BearerToken("Bearer " + std::string(5000, 'a')));
}

TEST(TokenTable, MakesTheLineOfTheFile) {
  const auto entry = MakeTokenEntry("alice", kAlice);
  ASSERT_TRUE(entry.ok());
  EXPECT_THAT(*entry, Not(HasSubstr(kAlice)));
  const auto table = TokenTable::Parse(File(*entry), "t");
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_NE(table->Find(kAlice), nullptr);
  EXPECT_EQ(table->Find(kAlice)->RoleNames(), "infer");
  EXPECT_FALSE(MakeTokenEntry("alice", "short").ok());
  EXPECT_FALSE(MakeTokenEntry("alice", "long enough but with blanks").ok());
  EXPECT_FALSE(MakeTokenEntry("al/ice", kAlice).ok());
}

TEST(Authorizer, TakesUpAChangedFileAndKeepsTheOldTokensWhenItIsBroken) {
  std::string pattern = (std::filesystem::temp_directory_path() / "switchyard-tokens-XXXXXX").string();
  const std::filesystem::path directory = mkdtemp(pattern.data());
  const std::string path = directory / "tokens.json";
  const auto write = [&](const std::string& text) { std::ofstream(path) << text; };
  write(File(Entry("alice", kAlice, R"("infer")")));
  auto opened = Authorizer::Open(path);
  ASSERT_TRUE(opened.ok()) << opened.status();
  Authorizer& authorizer = **opened;
  const auto code = [&](const std::string& token, Role role) { return authorizer.Check("Bearer " + token, role).status().code(); };
  EXPECT_EQ(code(kAlice, Role::kInfer), absl::StatusCode::kOk);
  EXPECT_EQ(code(kAlice, Role::kAdmin), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(kRoot, Role::kInfer), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(authorizer.Check("", Role::kInfer).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(authorizer.refused(), (std::array<uint64_t, 3>{1, 1, 1}));
  EXPECT_FALSE(authorizer.Reload());
  write("{");
  EXPECT_FALSE(authorizer.Reload());
  EXPECT_EQ(code(kAlice, Role::kInfer), absl::StatusCode::kOk);
  write(File(Entry("root", kRoot, R"("admin")")));
  EXPECT_TRUE(authorizer.Reload());
  EXPECT_EQ(code(kAlice, Role::kInfer), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(code(kRoot, Role::kAdmin), absl::StatusCode::kOk);
  std::filesystem::remove_all(directory);
  EXPECT_FALSE(authorizer.Reload());
  EXPECT_EQ(code(kRoot, Role::kAdmin), absl::StatusCode::kOk);
  EXPECT_EQ(Authorizer::Open(path).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace switchyard
