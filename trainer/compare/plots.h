// A comparison as pictures a paper can take: SVG documents.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trainer/compare/comparison.h"

namespace switchyard::trainer {

// Groups of bars with intervals, one group a set and one for their mean, one bar a method.
std::string AccuracyPlot(const Comparison& comparison);
// Expert by task; empty for a method that routes nothing.
std::string TaskPlot(const Comparison& comparison, const MethodResult& method);
// Expert by layer; empty for a method that routes nothing.
std::string LoadPlot(const MethodResult& method);

struct HeatMap {
  std::string title, subtitle;
  std::string row_axis, column_axis;
  std::vector<std::string> rows, columns;
  std::vector<std::vector<std::optional<double>>> cells;  // [rows][columns] shares, 0 to 1
  double cell_width = 64, cell_height = 30;
  double darkest = 1;   // the share that has the darkest colour
  bool numbers = true;  // in the cells, in percent
};
std::string DrawHeatMap(const HeatMap& map);

}  // namespace switchyard::trainer
