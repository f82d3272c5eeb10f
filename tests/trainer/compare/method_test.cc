#include "trainer/compare/method.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace switchyard::trainer {
namespace {

using ::testing::ElementsAre;

TEST(CompareMethod, ReadsArtifactsAndTopK) {
  const MethodSpec one = ParseMethod("top1=a/router").value();
  EXPECT_EQ(one.name, "top1");
  EXPECT_EQ(one.kind, MethodKind::kRouter);
  EXPECT_THAT(one.directories, ElementsAre("a/router"));
  EXPECT_EQ(one.top_k, 0);
  const MethodSpec seeds = ParseMethod("top2=a/s1,b/s2,c/s3:2").value();
  EXPECT_THAT(seeds.directories, ElementsAre("a/s1", "b/s2", "c/s3"));
  EXPECT_EQ(seeds.top_k, 2);
  // Only a number at the very end is a k.
  EXPECT_THAT(ParseMethod("x=dir:with/colon").value().directories, ElementsAre("dir:with/colon"));
  EXPECT_THAT(ParseMethod("x=dir:").value().directories, ElementsAre("dir:"));
}

TEST(CompareMethod, KnowsTheThreeWithoutArtifacts) {
  EXPECT_EQ(ParseMethod("base")->kind, MethodKind::kBase);
  EXPECT_EQ(ParseMethod("random")->kind, MethodKind::kRandom);
  EXPECT_EQ(ParseMethod("oracle")->kind, MethodKind::kOracle);
  EXPECT_EQ(ParseMethod("oracle-by-label")->name, "oracle");
}

TEST(CompareMethod, RefusesWhatItCannotRead) {
  for (const char* text : {"", "learned", "=dir", "x=", "x=a,,b", "x=a,", "x=a:0", "x=a:99999999999999999999", "x=:2"}) {
    EXPECT_EQ(ParseMethod(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace switchyard::trainer
