#include "client/heat_map.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "client/screen_text.h"
#include "client/table.h"

namespace switchyard::client {
namespace {

constexpr size_t kGap = 2;

// Five shades; what is above zero is never drawn as nothing.
struct Shade {
  double from;
  const char* block;
  int colour;  // of the 256-colour palette, cold to hot
};
constexpr Shade kShades[] = {{0.75, "█", 196}, {0.5, "▓", 208}, {0.25, "▒", 178}, {0.0, "░", 66}};

std::string Blocks(double share, int count, const Style& style) {
  if (!(share > 0)) return std::string(count, ' ');
  for (const Shade& shade : kShades) {
    if (share < shade.from) continue;
    std::string blocks;
    for (int i = 0; i < count; ++i) blocks += shade.block;
    return style.Palette(shade.colour, blocks);
  }
  return std::string(count, ' ');
}

size_t LabelWidth(const HeatGrid& grid) {
  size_t width = std::string_view("layer").size();
  for (const HeatGrid::Row& row : grid.rows) width = std::max(width, DisplayWidth(row.label));
  return width;
}

std::string Finish(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string DrawWide(const HeatGrid& grid, const std::vector<size_t>& widths, const Style& style) {
  const size_t label = LabelWidth(grid);
  const std::string gap(kGap, ' ');
  std::string heading = Pad("layer", label, Align::kRight);
  for (size_t c = 0; c < grid.columns.size(); ++c) heading += gap + Pad(grid.columns[c], widths[c], Align::kLeft);
  std::string text = Finish(style.Bold(heading));
  for (const HeatGrid::Row& row : grid.rows) {
    std::string line = Pad(row.label, label, Align::kRight);
    for (size_t c = 0; c < row.shares.size(); ++c) {
      const std::string percent = absl::StrFormat("%4.0f %%", 100 * row.shares[c]);
      line += gap + Blocks(row.shares[c], 2, style) + percent + std::string(widths[c] - 2 - percent.size(), ' ');
    }
    text += Finish(std::move(line));
  }
  return text;
}

std::string DrawNarrow(const HeatGrid& grid, const Style& style) {
  const size_t label = LabelWidth(grid);
  std::string heading = Pad("layer", label, Align::kRight) + " ";
  std::string legend;
  for (size_t c = 0; c < grid.columns.size(); ++c) {
    const std::string letter = ExpertLetter(static_cast<int>(c));
    heading += " " + letter;
    legend += (c > 0 ? "   " : "") + letter + " " + grid.columns[c];
  }
  std::string text = Finish(style.Bold(heading));
  for (const HeatGrid::Row& row : grid.rows) {
    std::string line = Pad(row.label, label, Align::kRight) + " ";
    for (const double share : row.shares) line += Blocks(share, 2, style);
    text += Finish(std::move(line));
  }
  return text + style.Dim(legend) + "\n";
}

}  // namespace

std::string ExpertLetter(int index) {
  if (index >= 0 && index < 26) return std::string(1, static_cast<char>('a' + index));
  if (index >= 26 && index < 52) return std::string(1, static_cast<char>('A' + index - 26));
  return "+";
}

std::string DrawHeatGrid(const HeatGrid& grid, const Style& style, size_t columns) {
  std::vector<size_t> widths;
  size_t total = LabelWidth(grid);
  for (const std::string& name : grid.columns) {
    widths.push_back(std::max<size_t>(DisplayWidth(name), 8));  // two blocks and " 100 %"
    total += kGap + widths.back();
  }
  const std::string scale = style.Dim("nothing: 0   ░ < 25 %   ▒ < 50 %   ▓ < 75 %   █ more") + "\n";
  return (total <= columns ? DrawWide(grid, widths, style) : DrawNarrow(grid, style)) + scale;
}

}  // namespace switchyard::client
