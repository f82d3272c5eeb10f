#include "server/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace switchyard {
namespace {

// Length of the longest suffix of `text` that is a proper prefix of `stop`.
size_t PartialLength(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  }
  return 0;
}

bool IsContinuationByte(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

StopMatcher::Output StopMatcher::Push(std::string_view piece) {
  held_ += piece;
  Output output;
  size_t first_end = 0;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const size_t end = at + stop.size();
    // However the text is cut into pieces, the one that is complete first ends it; of two that end together, the longer one.
    if (!output.stop || end < first_end || (end == first_end && stop.size() > output.stop->size())) {
      first_end = end;
      output.stop = stop;
    }
  }
  if (output.stop) {
    output.text = held_.substr(0, first_end - output.stop->size());
    held_.clear();
    return output;
  }
  size_t keep = 0;
  for (const std::string& stop : stops_) keep = std::max(keep, PartialLength(held_, stop));
  // Never cut inside a character: a stop string may begin with the last bytes of one only if it is itself cut there, which UTF-8 text is
  // not.
  while (keep < held_.size() && keep > 0 && IsContinuationByte(held_[held_.size() - keep])) ++keep;
  output.text = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return output;
}

std::string StopMatcher::Flush() { return std::exchange(held_, {}); }

}  // namespace switchyard
