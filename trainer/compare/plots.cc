#include "trainer/compare/plots.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "trainer/compare/summary.h"
#include "trainer/compare/svg.h"

namespace switchyard::trainer {
namespace {

// Okabe and Ito's palette: told apart by colour-blind readers too.
constexpr std::array<std::string_view, 8> kPalette = {"#0072b2", "#e69f00", "#009e73", "#cc79a7",
                                                      "#56b4e9", "#d55e00", "#999999", "#f0e442"};
constexpr double kMargin = 16;
constexpr double kLabel = 12;

// The legend in rows; returns where it ends.
double DrawLegend(const Comparison& comparison, double left, double right, double top, SvgCanvas* canvas) {
  double x = left, y = top;
  for (size_t m = 0; m < comparison.methods.size(); ++m) {
    const double width = 18 + TextWidth(comparison.methods[m].name, kLabel) + 18;
    if (x > left && x + width > right) {
      x = left;
      y += 20;
    }
    if (canvas != nullptr) {
      canvas->Rect(x, y, 12, 12, kPalette[m % kPalette.size()]);
      canvas->Text(x + 18, y + 10.5, comparison.methods[m].name, {.size = kLabel});
    }
    x += width;
  }
  return y + 20;
}

void DrawBar(const std::string& name, const Figures& accuracy, double x, double width, double top, double height, std::string_view fill,
             SvgCanvas* canvas) {
  if (!accuracy) return;
  const auto y = [&](double share) { return top + height * (1 - std::clamp(share, 0.0, 1.0)); };
  canvas->Rect(x, y(accuracy->mean), width, top + height - y(accuracy->mean), fill, name + ": " + Show(accuracy, 1, 100) + " %");
  if (!accuracy->half_width) return;
  const double middle = x + width / 2, cap = std::min(4.0, width / 3), low = y(accuracy->mean - *accuracy->half_width),
               high = y(accuracy->mean + *accuracy->half_width);
  // White below, so that it is seen on a dark bar too.
  for (const auto& [stroke, wide] : {std::pair{"#ffffff", 3.0}, std::pair{"#222222", 1.0}}) {
    canvas->Line(middle, low, middle, high, stroke, wide);
    canvas->Line(middle - cap, low, middle + cap, low, stroke, wide);
    canvas->Line(middle - cap, high, middle + cap, high, stroke, wide);
  }
}

double Widest(const std::vector<std::string>& texts, double size) {
  double widest = 0;
  for (const std::string& text : texts) widest = std::max(widest, TextWidth(text, size));
  return widest;
}

// A stripe of all colours with its ends named.
void DrawScale(double x, double y, double width, double darkest, SvgCanvas* canvas) {
  constexpr int kSteps = 40;
  for (int i = 0; i < kSteps; ++i) canvas->Rect(x + i * width / kSteps, y, width / kSteps + 0.5, 10, HeatColour((i + 0.5) / kSteps));
  canvas->Text(x, y + 24, "0 %", {.size = 11});
  canvas->Text(x + width, y + 24, absl::StrFormat("%.0f %%", 100 * darkest), {.size = 11, .anchor = "end"});
}

}  // namespace

std::string AccuracyPlot(const Comparison& comparison) {
  const size_t groups = comparison.sets.size() + 1, bars = comparison.methods.size();
  const double bar = std::clamp(160.0 / static_cast<double>(bars), 10.0, 26.0), group = bar * static_cast<double>(bars) + 26, left = 54,
               height = 260;
  const double width = std::max(left + group * static_cast<double>(groups) + kMargin, 480.0), right = width - kMargin;
  const double top = DrawLegend(comparison, left, right, 62, nullptr) + 14;
  SvgCanvas canvas(width, top + height + 44);
  const std::string title = "Accuracy on " + comparison.base;
  canvas.Text(left, 26, title, {.size = 16, .bold = true});
  canvas.Text(left, 46, absl::StrFormat("%% right, judge %s, with 95 %% intervals", kJudgeNames[comparison.judge]),
              {.size = kLabel, .fill = "#555555"});
  DrawLegend(comparison, left, right, 62, &canvas);
  for (int percent = 0; percent <= 100; percent += 20) {
    const double y = top + height * (1 - percent / 100.0);
    canvas.Line(left, y, right, y, percent == 0 ? "#222222" : "#dddddd");
    canvas.Text(left - 8, y + 4, std::to_string(percent), {.size = 11, .anchor = "end"});
  }
  for (size_t g = 0; g < groups; ++g) {
    const double begin = left + 13 + group * static_cast<double>(g);
    const bool average = g + 1 == groups;
    if (average) canvas.Line(begin - 13, top, begin - 13, top + height, "#999999");
    const std::string name = average ? "average" : comparison.sets[g].name;
    canvas.Text(begin + (group - 26) / 2, top + height + 20, name, {.size = kLabel, .anchor = "middle", .bold = average});
    if (!average) {
      canvas.Text(begin + (group - 26) / 2, top + height + 36, absl::StrFormat("n = %d", comparison.sets[g].questions),
                  {.size = 11, .anchor = "middle", .fill = "#555555"});
    }
    for (size_t m = 0; m < bars; ++m) {
      DrawBar(comparison.methods[m].name + ", " + name, AccuracyOf(comparison.methods[m], comparison.judge, g),
              begin + bar * static_cast<double>(m) + 1, bar - 2, top, height, kPalette[m % kPalette.size()], &canvas);
    }
  }
  return canvas.Document(title);
}

std::string DrawHeatMap(const HeatMap& map) {
  const double left = kMargin + 30 + Widest(map.rows, kLabel) + 10, top = 92;
  const double grid_width = map.cell_width * static_cast<double>(map.columns.size()),
               grid_height = map.cell_height * static_cast<double>(map.rows.size());
  const double texts = std::max(TextWidth(map.title, 17), TextWidth(map.subtitle, kLabel));
  const double width = std::max(left + grid_width, kMargin + texts) + kMargin;
  SvgCanvas canvas(width, top + grid_height + 66);
  canvas.Text(kMargin, 26, map.title, {.size = 16, .bold = true});
  canvas.Text(kMargin, 46, map.subtitle, {.size = kLabel, .fill = "#555555"});
  canvas.Text(left + grid_width / 2, top - 26, map.column_axis, {.size = kLabel, .anchor = "middle", .fill = "#555555"});
  canvas.Text(kMargin + 8, top + grid_height / 2, map.row_axis, {.size = kLabel, .anchor = "middle", .fill = "#555555", .rotate = -90});
  for (size_t c = 0; c < map.columns.size(); ++c) {
    canvas.Text(left + map.cell_width * (static_cast<double>(c) + 0.5), top - 8, map.columns[c], {.size = 11, .anchor = "middle"});
  }
  for (size_t r = 0; r < map.rows.size(); ++r) {
    const double y = top + map.cell_height * static_cast<double>(r);
    canvas.Text(left - 8, y + map.cell_height / 2 + 4, map.rows[r], {.size = kLabel, .anchor = "end"});
    for (size_t c = 0; c < map.columns.size(); ++c) {
      const double x = left + map.cell_width * static_cast<double>(c);
      const std::optional<double>& cell = map.cells[r][c];
      const std::string text = cell ? absl::StrFormat("%.0f", 100 * *cell) : "–";
      canvas.Rect(
          x, y, map.cell_width - 1, map.cell_height - 1, cell ? HeatColour(*cell / map.darkest) : "#eeeeee",
          absl::StrFormat("%s, %s: %s", map.rows[r], map.columns[c], cell ? absl::StrFormat("%.1f %%", 100 * *cell) : "no selection"));
      if (!map.numbers) continue;
      canvas.Text(x + (map.cell_width - 1) / 2, y + map.cell_height / 2 + 4, text,
                  {.size = 11, .anchor = "middle", .fill = cell ? InkOn(*cell / map.darkest) : "#555555"});
    }
  }
  DrawScale(left, top + grid_height + 18, std::min(160.0, std::max(grid_width, 100.0)), map.darkest, &canvas);
  return canvas.Document(map.title);
}

std::string TaskPlot(const Comparison& comparison, const MethodResult& method) {
  const auto shares = TaskSharesOf(method);
  if (shares.empty()) return "";
  HeatMap map;
  map.title = "Expert by task: " + method.name;
  map.subtitle = "% of a task's selections, mean over the layers";
  map.row_axis = "expert";
  map.column_axis = "task";
  map.rows = method.experts;
  for (const SetSummary& set : comparison.sets) map.columns.push_back(set.name);
  for (size_t e = 0; e < method.experts.size(); ++e) {
    const auto begin = shares.begin() + static_cast<std::ptrdiff_t>(e * comparison.sets.size());
    map.cells.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(comparison.sets.size()));
  }
  map.cell_width = std::max(64.0, Widest(map.columns, 11) + 10);
  return DrawHeatMap(map);
}

std::string LoadPlot(const MethodResult& method) {
  const auto load = LoadOf(method);
  if (load.empty()) return "";
  HeatMap map;
  map.title = "Load by layer: " + method.name;
  map.subtitle = "% of a layer's selections";
  map.row_axis = "expert";
  map.column_axis = "layer";
  map.rows = method.experts;
  map.cells.resize(method.experts.size());
  for (size_t l = 0; l < load.size(); ++l) {
    map.columns.push_back(std::to_string(l));
    for (size_t e = 0; e < method.experts.size(); ++e) map.cells[e].push_back(load[l][e]);
  }
  // Loads lie far below 100 %: the darkest colour is the largest of them, in steps of 10 %.
  double largest = 0;
  for (const auto& row : map.cells) {
    for (const auto& cell : row) largest = std::max(largest, cell.value_or(0));
  }
  map.darkest = std::max(0.1, std::ceil(largest * 10 - 1e-9) / 10);
  map.cell_width = 26;
  return DrawHeatMap(map);
}

}  // namespace switchyard::trainer
