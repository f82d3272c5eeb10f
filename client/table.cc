#include "client/table.h"

#include <algorithm>

#include "client/screen_text.h"

namespace switchyard::client {
namespace {

constexpr std::string_view kGap = "  ";

// A line without the blanks that padding left at its end.
void AppendLine(std::string line, size_t indent, std::string* result) {
  line.erase(line.find_last_not_of(' ') + 1);
  result->append(indent, ' ').append(line).append("\n");
}

}  // namespace

std::string Pad(std::string text, size_t width, Align align) {
  const size_t have = DisplayWidth(text);
  if (have >= width) return text;
  const std::string blanks(width - have, ' ');
  return align == Align::kLeft ? text + blanks : blanks + text;
}

std::string Table::Render(const Style& style, size_t indent) const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = DisplayWidth(columns_[c].heading);
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[c].text));
    widths.push_back(width);
  }
  std::string heading, rule, result;
  for (size_t c = 0; c < columns_.size(); ++c) {
    if (c > 0) heading += kGap, rule += kGap;
    heading += style.Bold(Pad(columns_[c].heading, widths[c], columns_[c].align));
    for (size_t i = 0; i < widths[c]; ++i) rule += "─";
  }
  AppendLine(heading, indent, &result);
  AppendLine(style.Dim(rule), indent, &result);
  for (const auto& row : rows_) {
    std::string line;
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (c > 0) line += kGap;
      const std::string cell = Pad(row[c].text, widths[c], columns_[c].align);
      line += row[c].highlight ? style.Green(cell) : cell;
    }
    AppendLine(line, indent, &result);
  }
  return result;
}

}  // namespace switchyard::client
