#include "client/retry.h"

#include "client/rpc_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/client_testing.h"

namespace switchyard::client {
namespace {

const grpc::Status kBusy(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue is full");

TEST(Retry, WaitsLongerEachTimeUntilTheCallSucceeds) {
  FakeWait wait;
  int calls = 0;
  const auto status = CallWithRetry(wait.Policy(8), [&] { return ++calls < 4 ? kBusy : grpc::Status::OK; });
  EXPECT_TRUE(status.ok());
  ASSERT_EQ(wait.waits().size(), 3u);
  for (int i = 0; i < 3; ++i) {
    const absl::Duration full = absl::Milliseconds(100) * (1 << i);
    EXPECT_GE(wait.waits()[i], full * 0.5);
    EXPECT_LE(wait.waits()[i], full);
  }
}

TEST(Retry, GivesUpAfterTheLastRetryAndNeverWaitsBeyondTheLongest) {
  FakeWait wait;
  int calls = 0;
  const auto status = CallWithRetry(wait.Policy(12), [&] { return ++calls, kBusy; });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(calls, 13);
  for (const absl::Duration duration : wait.waits()) EXPECT_LE(duration, absl::Seconds(5));
}

TEST(Retry, DoesNotRepeatWhatCannotSucceed) {
  FakeWait wait;
  int calls = 0;
  CallWithRetry(wait.Policy(8), [&] { return ++calls, grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no"); });
  CallWithRetry(wait.Policy(8),
                [&] { return ++calls, grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)"); });
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(wait.waits().empty());
}

TEST(RpcError, SaysWhatToDoNext) {
  const ConnectionOptions options{"host:1", 30, 64};
  const auto explain = [&](grpc::StatusCode code, const char* message) { return ExplainRpcError({code, message}, options); };
  EXPECT_THAT(explain(grpc::StatusCode::UNAVAILABLE, "x"), ::testing::HasSubstr("SWITCHYARD_SERVER"));
  EXPECT_THAT(explain(grpc::StatusCode::DEADLINE_EXCEEDED, "x"), ::testing::HasSubstr("--timeout"));
  EXPECT_THAT(explain(grpc::StatusCode::RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)"),
              ::testing::HasSubstr("--max-message-mib"));
  EXPECT_THAT(explain(grpc::StatusCode::NOT_FOUND, "expert tax"), ::testing::HasSubstr("switchyard model"));
  EXPECT_THAT(explain(grpc::StatusCode::INVALID_ARGUMENT, "bad\x1b[2J"), ::testing::HasSubstr("INVALID_ARGUMENT: bad\xEF\xBF\xBD[2J"));
  EXPECT_EQ(ExitCodeFor({grpc::StatusCode::UNAVAILABLE, ""}), kExitUnreachable);
  EXPECT_EQ(ExitCodeFor({grpc::StatusCode::NOT_FOUND, ""}), kExitRefused);
}

}  // namespace
}  // namespace switchyard::client
