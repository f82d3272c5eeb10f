// A plain table: columns padded to their widest cell, numbers to the right, a rule under the heading.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "client/terminal.h"

namespace switchyard::client {

enum class Align { kLeft, kRight };

// Thread-compatible. Cells are plain text; colour is applied around a padded cell so that escape sequences never disturb the columns.
class Table {
 public:
  struct Column {
    std::string heading;
    Align align = Align::kRight;
  };
  struct Cell {
    Cell(std::string text_in) : text(std::move(text_in)) {}  // NOLINT: cells are written as text
    Cell(const char* text_in) : text(text_in) {}             // NOLINT
    Cell(std::string text_in, bool highlight_in) : text(std::move(text_in)), highlight(highlight_in) {}
    std::string text;
    bool highlight = false;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns.
  void AddRow(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }
  // Lines with a line break each; `indent` blanks before each.
  std::string Render(const Style& style, size_t indent = 0) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// Pads to `width` columns of the screen; longer text stays as it is.
std::string Pad(std::string text, size_t width, Align align);

}  // namespace switchyard::client
