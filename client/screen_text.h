// The little of Unicode a terminal needs: how wide a text is on a screen, and whether it may be printed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace switchyard::client {

// Columns on a terminal: 2 for East Asian wide characters and emoji, 0 for combining marks, 1 for the rest. Broken bytes count 1.
size_t DisplayWidth(std::string_view text);

// Text from elsewhere, safe to print: control characters (escape sequences of the terminal among them) become U+FFFD; \n and \t stay.
std::string Printable(std::string_view text);

// For table cells: one line, with \n, \t and \r spelled out, at most `columns` wide ("…" marks a cut; 0: no limit).
std::string OneLine(std::string_view text, size_t columns = 0);

}  // namespace switchyard::client
