#include "server/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace switchyard {
namespace {

struct Expected {
  std::string text;
  std::optional<std::string> stop;
};

// The rule, character by character over the whole text.
Expected Naive(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::string> found;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop) && (!found || stop.size() > found->size())) found = stop;
    }
    if (found) return {text.substr(0, end - found->size()), found};
  }
  return {text, std::nullopt};
}

// Could what is held back still become part of a stop string?
bool MayBecomeStop(const std::string& held, const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    if (held.size() < stop.size() && stop.starts_with(held)) return true;
  }
  return held.empty();
}

TEST(StopMatcher, EqualsTheRuleOverTheWholeTextHoweverItIsCut) {
  const std::vector<std::string> alphabet = {"a", "b", "é", "\n"};
  for (uint32_t seed = 0; seed < 4000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return random() % n; };
    const auto word = [&](uint32_t length) {
      std::string text;
      for (uint32_t i = 0; i < length; ++i) text += alphabet[below(alphabet.size())];
      return text;
    };
    std::vector<std::string> stops;
    for (uint32_t n = below(4); n > 0; --n) stops.push_back(word(1 + below(5)));
    const std::string text = word(below(40));
    const Expected expected = Naive(text, stops);

    StopMatcher matcher(stops);
    std::string sent, seen;
    std::optional<std::string> stop;
    for (size_t at = 0; at < text.size() && !stop;) {
      size_t end = std::min(text.size(), at + 1 + below(6));
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
      seen += text.substr(at, end - at);
      const StopMatcher::Output output = matcher.Push(std::string_view(text).substr(at, end - at));
      sent += output.text;
      stop = output.stop;
      at = end;
      ASSERT_TRUE(expected.text.starts_with(sent));
      // Nothing is held back without need.
      if (!stop) {
        ASSERT_TRUE(MayBecomeStop(seen.substr(sent.size()), stops)) << "held: " << seen.substr(sent.size());
      }
    }
    if (!stop) sent += matcher.Flush();
    ASSERT_EQ(sent, expected.text);
    ASSERT_EQ(stop, expected.stop);
  }
}

TEST(StopMatcher, TheStopStringCompleteFirstWinsWhateverThePieces) {
  for (const size_t piece : {1, 2, 4}) {
    StopMatcher matcher({"abcd", "bc"});
    std::string sent;
    std::optional<std::string> stop;
    const std::string text = "xabcd";
    for (size_t at = 0; at < text.size() && !stop; at += piece) {
      const auto output = matcher.Push(std::string_view(text).substr(at, piece));
      sent += output.text;
      stop = output.stop;
    }
    EXPECT_EQ(sent, "xa");
    EXPECT_EQ(stop, "bc");
  }
}

}  // namespace
}  // namespace switchyard
