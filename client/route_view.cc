#include "client/route_view.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/str_format.h"
#include "client/heat_map.h"
#include "client/screen_text.h"
#include "client/table.h"

namespace switchyard::client {
namespace {

constexpr int kBarCells = 20;
constexpr size_t kTokenColumns = 18;
constexpr size_t kStrongest = 2;

std::string Percent(double share) { return absl::StrFormat("%.1f %%", 100 * share); }

std::string Bar(double share) {
  const int filled = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * kBarCells));
  std::string bar;
  for (int i = 0; i < kBarCells; ++i) bar += i < filled ? "█" : "·";
  return bar;
}

std::string Figure(const char* name, bool has, double value, const char* format) {
  return std::string(name) + " " + (has ? absl::StrFormat(absl::ParsedFormat<'f'>(format), value) : std::string("-"));
}

// An expert by its index; a server that sends an index without a name is shown as it is.
std::string ExpertName(const v1::Generations& generations, int index) {
  if (index >= 0 && index < generations.experts_size()) return generations.experts(index).name();
  return "#" + std::to_string(index);
}

bool IsZero(const v1::Generations& generations, int index) {
  return index >= 0 && index < generations.experts_size() && generations.experts(index).is_zero();
}

// What the layers of one token add up to.
struct TokenSummary {
  std::string strip;
  std::map<int, double> weights;  // by expert
  double entropy_sum = 0;
  int entropy_layers = 0;
  std::optional<float> smallest_margin;
};

TokenSummary Summarise(const v1::TokenRoute& token, const v1::Generations& generations) {
  TokenSummary summary;
  for (const v1::LayerRoute& layer : token.layers()) {
    const int chosen = std::min(layer.experts_size(), layer.weights_size());
    for (int i = 0; i < chosen; ++i) summary.weights[layer.experts(i)] += layer.weights(i);
    summary.strip += chosen == 0 ? " " : IsZero(generations, layer.experts(0)) ? "·" : ExpertLetter(layer.experts(0));
    if (layer.has_entropy()) summary.entropy_sum += layer.entropy(), ++summary.entropy_layers;
    if (layer.has_margin()) summary.smallest_margin = std::min(summary.smallest_margin.value_or(layer.margin()), layer.margin());
  }
  return summary;
}

std::string Strongest(const TokenSummary& summary, const v1::Generations& generations, int layers) {
  std::vector<std::pair<int, double>> order(summary.weights.begin(), summary.weights.end());
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  if (order.size() > kStrongest) order.resize(kStrongest);
  std::string text;
  for (const auto& [expert, weight] : order) {
    if (!text.empty()) text += ", ";
    text += absl::StrFormat("%s %.0f %%", OneLine(ExpertName(generations, expert), 16), 100 * weight / std::max(layers, 1));
  }
  return text;
}

}  // namespace

std::string ProfileTable(const v1::RouteProfile& profile, const Style& style) {
  Table table({{"expert", Align::kLeft}, {"selections"}, {"load"}, {"weight"}, {"", Align::kLeft}});
  for (const v1::ExpertShare& share : profile.experts()) {
    table.AddRow({OneLine(share.expert(), 32), std::to_string(share.tokens()), Percent(share.load_share()), Percent(share.weight_share()),
                  Bar(share.weight_share())});
  }
  const std::string figures = absl::StrFormat("%d token-layer pairs · %s · %s · %s · %s", profile.rows(),
                                              Figure("zero share", profile.has_zero_share(), profile.zero_share(), "%.3f"),
                                              Figure("base mass", profile.has_base_mass(), profile.base_mass(), "%.3f"),
                                              Figure("entropy", profile.has_mean_entropy(), profile.mean_entropy(), "%.3f nats"),
                                              Figure("margin", profile.has_mean_margin(), profile.mean_margin(), "%.3f"));
  return table.Render(style) + style.Dim(figures) + "\n";
}

std::string HeatMap(const v1::Routes& routes, const v1::Generations& generations, const Style& style, size_t columns) {
  HeatGrid grid;
  for (const v1::ExpertGeneration& expert : generations.experts()) grid.columns.push_back(OneLine(expert.name(), 24));
  for (const v1::LayerProfile& layer : routes.layers()) {
    std::map<std::string, double> shares;
    for (const v1::ExpertShare& share : layer.profile().experts()) shares[share.expert()] = share.weight_share();
    std::vector<double> row;
    for (const v1::ExpertGeneration& expert : generations.experts()) row.push_back(shares[expert.name()]);
    grid.rows.push_back({std::to_string(layer.layer()), std::move(row)});
  }
  return DrawHeatGrid(grid, style, columns);
}

std::string TokenTable(const v1::Routes& routes, const v1::Generations& generations, const Style& style) {
  Table table({{"#"},
               {"token", Align::kLeft},
               {"strongest", Align::kLeft},
               {"entropy"},
               {"least margin"},
               {"first choice by layer", Align::kLeft}});
  int position = 0;
  for (const v1::TokenRoute& token : routes.tokens()) {
    const TokenSummary summary = Summarise(token, generations);
    table.AddRow({std::to_string(position++), OneLine(token.text(), kTokenColumns), Strongest(summary, generations, token.layers_size()),
                  summary.entropy_layers > 0 ? absl::StrFormat("%.3f", summary.entropy_sum / summary.entropy_layers) : std::string("-"),
                  summary.smallest_margin.has_value() ? absl::StrFormat("%.3f", *summary.smallest_margin) : std::string("-"),
                  summary.strip});
  }
  std::string legend;
  for (int i = 0; i < generations.experts_size(); ++i) {
    legend += absl::StrFormat("%s%s %s", i > 0 ? "   " : "", IsZero(generations, i) ? std::string("·") : ExpertLetter(i),
                              OneLine(generations.experts(i).name(), 24));
  }
  return table.Render(style) + style.Dim(legend) + "\n";
}

std::string RoutesView(const v1::Routes& routes, const v1::Generations& generations, const Style& style, size_t columns) {
  std::string view;
  if (routes.has_profile()) view += style.Bold("Experts over all layers and tokens") + "\n" + ProfileTable(routes.profile(), style);
  if (routes.layers_size() > 0) {
    view += "\n" + style.Bold("Share of each layer's weight") + "\n" + HeatMap(routes, generations, style, columns);
  }
  if (routes.tokens_size() > 0) view += "\n" + style.Bold("Tokens") + "\n" + TokenTable(routes, generations, style);
  return view;
}

}  // namespace switchyard::client
