#include "client/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

namespace switchyard::client {
namespace {

constexpr size_t kDefaultColumns = 100;

size_t Columns(int descriptor) {
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return kDefaultColumns;
  return size.ws_col;
}

}  // namespace

std::string Style::Wrap(std::string_view code, std::string_view text) const {
  if (!enabled_) return std::string(text);
  return std::string("\x1b[").append(code).append("m").append(text).append("\x1b[0m");
}

std::string Style::Palette(int colour, std::string_view text) const { return Wrap("38;5;" + std::to_string(colour), text); }

Terminal Terminal::ForProcess() {
  const bool out_tty = isatty(STDOUT_FILENO) == 1;
  const bool err_tty = isatty(STDERR_FILENO) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  const bool colour = no_color == nullptr || *no_color == '\0';
  return Terminal{std::cout,
                  std::cerr,
                  out_tty,
                  err_tty,
                  Style(out_tty && colour),
                  Style(err_tty && colour),
                  out_tty   ? Columns(STDOUT_FILENO)
                  : err_tty ? Columns(STDERR_FILENO)
                            : kDefaultColumns};
}

}  // namespace switchyard::client
