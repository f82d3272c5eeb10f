#include "client/progress.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace switchyard::client {
namespace {

constexpr absl::Duration kBarInterval = absl::Milliseconds(100);
constexpr absl::Duration kLineInterval = absl::Seconds(5);
constexpr size_t kBarCells = 24;

}  // namespace

std::string ShortDuration(absl::Duration duration) {
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(duration + absl::Milliseconds(500)));
  if (seconds < 60) return absl::StrFormat("%d s", seconds);
  if (seconds < 3600) return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

Progress::Progress(Terminal& terminal, std::string what, int64_t total, int64_t already_done, Clock clock)
    : terminal_(terminal),
      what_(std::move(what)),
      total_(total),
      already_done_(already_done),
      clock_(std::move(clock)),
      start_(clock_()),
      last_draw_(start_) {}

Progress::~Progress() {
  if (bar_shown_) terminal_.err << "\r\x1b[K" << std::flush;
}

void Progress::Advance(bool failed) {
  ++done_;
  if (failed) ++failed_;
  const absl::Time now = clock_();
  if (now - last_draw_ < (terminal_.err_is_tty ? kBarInterval : kLineInterval)) return;
  last_draw_ = now;
  Draw();
}

double Progress::rate() const {
  const double seconds = absl::ToDoubleSeconds(elapsed());
  return seconds > 0 ? static_cast<double>(done_) / seconds : 0;
}

std::string Progress::Figures() const {
  const int64_t done = already_done_ + done_;
  const double per_second = rate();
  std::string text = absl::StrFormat("%d/%d %s · %.1f/s", done, total_, what_, per_second);
  if (per_second > 0) text += " · " + ShortDuration(absl::Seconds(static_cast<double>(total_ - done) / per_second)) + " left";
  if (failed_ > 0) text += absl::StrFormat(" · %d failed", failed_);
  return text;
}

void Progress::Draw() {
  if (!terminal_.err_is_tty) {
    terminal_.err << Figures() << std::endl;
    return;
  }
  const size_t filled = total_ > 0 ? kBarCells * static_cast<size_t>(already_done_ + done_) / static_cast<size_t>(total_) : 0;
  std::string bar;
  for (size_t i = 0; i < kBarCells; ++i) bar += i < filled ? "█" : "░";
  terminal_.err << "\r" << bar << " " << Figures() << "\x1b[K" << std::flush;
  bar_shown_ = true;
}

}  // namespace switchyard::client
