// A heat map of shares (0 to 1) in block characters.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "client/terminal.h"

namespace switchyard::client {

struct HeatGrid {
  struct Row {
    std::string label;
    std::vector<double> shares;  // one a column
  };
  std::vector<std::string> columns;
  std::vector<Row> rows;
};

// With percentages where they fit into `columns` of the screen, else shades under letters with a legend. Colour only when the style has it:
// the shades alone say the same.
std::string DrawHeatGrid(const HeatGrid& grid, const Style& style, size_t columns);

// a..z, A..Z, then "+": short names for columns.
std::string ExpertLetter(int index);

}  // namespace switchyard::client
