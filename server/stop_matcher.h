// Finds the first stop string in a text that arrives in pieces, and holds back what may still become part of one. The result does not
// depend on how the text is cut: the stop string that is complete first ends it, of two that end together the longer one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

// Used by one generation. Cost per piece: (held back + piece) x stop strings.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  struct Output {
    std::string text;                 // safe to send: before any stop string, whole UTF-8 characters
    std::optional<std::string> stop;  // the stop string found; nothing may be sent after it
  };
  Output Push(std::string_view piece);
  // The end of the text: what was held back is no stop string after all.
  std::string Flush();

 private:
  std::vector<std::string> stops_;  // none empty
  std::string held_;
};

}  // namespace switchyard
