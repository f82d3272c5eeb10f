#include "client/progress.h"

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/client_testing.h"

namespace switchyard::client {
namespace {

TEST(ProgressTest, WritesPlainLinesEveryFewSecondsWithoutATerminal) {
  StringTerminal terminal;
  absl::Time now = absl::UnixEpoch();
  {
    Progress progress(terminal.terminal, "lines", 20, 4, [&] { return now; });
    for (int i = 0; i < 12; ++i) {
      now += absl::Seconds(1);
      progress.Advance(i == 0);
    }
  }
  EXPECT_EQ(terminal.err.str(),
            "9/20 lines · 1.0/s · 11 s left · 1 failed\n"
            "14/20 lines · 1.0/s · 6 s left · 1 failed\n");
}

TEST(ProgressTest, RedrawsABarOnATerminalAndClearsIt) {
  StringTerminal terminal;
  terminal.terminal.err_is_tty = true;
  absl::Time now = absl::UnixEpoch();
  {
    Progress progress(terminal.terminal, "questions", 2, 0, [&] { return now; });
    now += absl::Seconds(2);
    progress.Advance(false);
  }
  EXPECT_EQ(terminal.err.str(), "\r████████████░░░░░░░░░░░░ 1/2 questions · 0.5/s · 2 s left\x1b[K\r\x1b[K");
}

TEST(ProgressTest, DurationsAreShort) {
  EXPECT_EQ(ShortDuration(absl::Seconds(42)), "42 s");
  EXPECT_EQ(ShortDuration(absl::Seconds(187)), "3:07");
  EXPECT_EQ(ShortDuration(absl::Seconds(3729)), "1:02:09");
  EXPECT_EQ(ShortDuration(-absl::Seconds(1)), "0 s");
}

}  // namespace
}  // namespace switchyard::client
