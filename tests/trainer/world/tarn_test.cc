#include "trainer/world/tarn.h"

#include <gtest/gtest.h>

namespace switchyard::trainer {
namespace {

const TarnOperators kOperators = {{"a", "first"},     {"b", "second"},    {"c", "third"},         {"d", "last"},      {"turn", "reverse"},
                                  {"roll", "rotate"}, {"big", "largest"}, {"little", "smallest"}, {"odd", "sideways"}};

std::string Shown(std::string_view expression) {
  const StatusOr<std::string> shown = RunTarn(expression, kOperators);
  return shown.ok() ? *shown : std::string(Message(shown.status()));
}

TEST(Tarn, PicksAPlaceOfTheList) {
  EXPECT_EQ(Shown("a(red, cat, box, hat)"), "red");
  EXPECT_EQ(Shown("b(red, cat, box, hat)"), "cat");
  EXPECT_EQ(Shown("c(red, cat, box, hat)"), "box");
  EXPECT_EQ(Shown("d(red, cat, box, hat)"), "hat");
  EXPECT_EQ(Shown("d(red)"), "red");
}

TEST(Tarn, ChangesTheList) {
  EXPECT_EQ(Shown("turn(red, cat, box)"), "box cat red");
  EXPECT_EQ(Shown("roll(red, cat, box)"), "cat box red");
}

TEST(Tarn, NestsFromTheInside) {
  EXPECT_EQ(Shown("a(turn(red, cat, box, hat))"), "hat");
  EXPECT_EQ(Shown("b(roll(red, cat, box, hat))"), "box");
  EXPECT_EQ(Shown("roll(turn(red, cat, box))"), "cat red box");
  EXPECT_EQ(Shown("turn(roll(red, cat, box))"), "red box cat");
}

TEST(Tarn, ComparesNumbersByValue) {
  EXPECT_EQ(Shown("big(9, 10, 3)"), "10");
  EXPECT_EQ(Shown("little(9, 10, 30)"), "9");
}

TEST(Tarn, RefusesWhatIsNoExpression) {
  for (const char* text :
       {"", "a", "a(", "a()", "a(red", "a(red,cat)", "a(red, )", "a(red) ", "a(RED)", "a(red, b(cat))", "a(b(red)", "(red)", "___(red)"}) {
    EXPECT_EQ(RunTarn(text, kOperators).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(Tarn, NamesWhatIsWrong) {
  EXPECT_EQ(Shown("nope(red)"), "tarn: \"nope(red)\": no operator \"nope\"");
  EXPECT_EQ(Shown("c(red, cat)"), "tarn: the third word of a list of 2");
  EXPECT_EQ(Shown("big(red, 2)"), "tarn: expected numbers of up to 9 digits, found \"red\"");
  EXPECT_EQ(Shown("big(1234567890)"), "tarn: expected numbers of up to 9 digits, found \"1234567890\"");
  EXPECT_EQ(Shown("odd(red)"), "tarn: no such meaning of an operator: \"sideways\"");
  EXPECT_EQ(Shown("a(red; cat)"), "tarn: character 6 of \"a(red; cat)\": expected )");
}

TEST(Tarn, BoundsTheDepth) {
  const auto nested = [](int depth) {
    std::string text;
    for (int i = 0; i < depth; ++i) text += "a(";
    return text + "red" + std::string(depth, ')');
  };
  EXPECT_EQ(Shown(nested(kMaxTarnDepth)), "red");
  EXPECT_FALSE(RunTarn(nested(kMaxTarnDepth + 1), kOperators).ok());
  EXPECT_FALSE(RunTarn(nested(100000), kOperators).ok());
}

}  // namespace
}  // namespace switchyard::trainer
