// Where a command prints: results to `out`, everything else (progress, hints, errors) to `err`, with colours only where a person looks.
#pragma once

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>

namespace switchyard::client {

// Wraps text in escape sequences, or not at all. Thread-safe: immutable.
class Style {
 public:
  explicit Style(bool enabled) : enabled_(enabled) {}

  bool enabled() const { return enabled_; }
  std::string Bold(std::string_view text) const { return Wrap("1", text); }
  std::string Dim(std::string_view text) const { return Wrap("2", text); }
  std::string Red(std::string_view text) const { return Wrap("31", text); }
  std::string Green(std::string_view text) const { return Wrap("32", text); }
  // A colour of the 256-colour palette.
  std::string Palette(int colour, std::string_view text) const;

 private:
  std::string Wrap(std::string_view code, std::string_view text) const;

  bool enabled_;
};

// The streams are borrowed and must outlive the terminal. Thread-compatible.
struct Terminal {
  std::ostream& out;
  std::ostream& err;
  bool out_is_tty = false;
  bool err_is_tty = false;
  Style out_style{false};
  Style err_style{false};
  size_t columns = 100;

  // Standard output and error of this process. Colour needs a terminal and an unset (or empty) NO_COLOR.
  static Terminal ForProcess();
};

}  // namespace switchyard::client
