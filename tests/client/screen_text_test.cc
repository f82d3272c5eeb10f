#include "client/screen_text.h"

#include "gtest/gtest.h"

namespace switchyard::client {
namespace {

TEST(ScreenText, WidthCountsColumnsOfTheScreen) {
  EXPECT_EQ(DisplayWidth("abc"), 3u);
  EXPECT_EQ(DisplayWidth("naïve"), 5u);
  EXPECT_EQ(DisplayWidth("世界"), 4u);
  EXPECT_EQ(DisplayWidth("e\xCC\x81"), 1u);  // combining acute
}

TEST(ScreenText, EscapeSequencesFromElsewhereCannotReachTheTerminal) {
  EXPECT_EQ(Printable("a\x1b[31mb\nc\td"), "a\xEF\xBF\xBD[31mb\nc\td");
  EXPECT_EQ(Printable("\xC2\x9B"
                      "2J"),
            "\xEF\xBF\xBD"
            "2J");  // the one-character CSI
  EXPECT_EQ(OneLine("a\nb\tc\rd"), "a\\nb\\tc\\rd");
}

TEST(ScreenText, ACutLineEndsInAnEllipsisAndFits) {
  EXPECT_EQ(OneLine("abcdef", 6), "abcdef");
  EXPECT_EQ(OneLine("abcdefg", 6), "abcde…");
  EXPECT_EQ(OneLine("世界世界", 5), "世界…");
}

}  // namespace
}  // namespace switchyard::client
