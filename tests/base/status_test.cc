#include "engine/base/status.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

StatusOr<int> Half(int n) {
  if (n % 2 != 0) return InvalidArgument("number: %d is odd, expected an even one", n);
  return n / 2;
}

StatusOr<int> Quarter(int n) {
  ASSIGN_OR_RETURN(const int half, Half(n));
  RETURN_IF_ERROR(Annotate(Half(half).status(), "second half"));
  return half / 2;
}

TEST(BaseStatus, FactoriesFormatAndKeepTheCode) {
  const Status status = NotFound("%s %d", std::string_view("expert"), 3);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(status), "expert 3");
}

TEST(BaseStatus, AnnotateKeepsOkAndPrefixesErrors) {
  EXPECT_TRUE(Annotate(OkStatus(), "file").ok());
  const Status status = Annotate(DataLoss("short"), "file");
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Message(status), "file: short");
}

TEST(BaseStatus, MacrosPassErrorsOn) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Message(Quarter(3).status()), "number: 3 is odd, expected an even one");
  EXPECT_EQ(Message(Quarter(6).status()), "second half: number: 3 is odd, expected an even one");
}

}  // namespace
}  // namespace switchyard
