#include "trainer/placement/report.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "trainer/placement/grouping.h"

namespace switchyard::trainer {

namespace {

using Json = nlohmann::ordered_json;

template <typename Figure>
double MeanOverLayersOf(const std::vector<LayerPlacement>& layers, const Figure& figure) {
  double sum = 0;
  for (const LayerPlacement& layer : layers) sum += figure(layer);
  return layers.empty() ? 0 : sum / static_cast<double>(layers.size());
}

// "a b | c d": the experts of each device.
std::string Devices(const LayerPlacement& layer, const PlacementOptions& options) {
  std::string text;
  for (int32_t d = 0; d < options.devices; ++d) {
    if (d > 0) text += " \\|";
    for (size_t e = 0; e < layer.groups.size(); ++e) {
      if (layer.groups[e] == d) text += (text.empty() ? "" : " ") + options.experts[e];
    }
  }
  return text;
}

// "a on 1, 2"
std::string Copies(const LayerPlacement& layer, const PlacementOptions& options) {
  std::string text;
  for (size_t e = 0; e < layer.placement.hosts.size(); ++e) {
    const std::vector<int32_t>& hosts = layer.placement.hosts[e];
    if (hosts.size() < 2) continue;
    text += (text.empty() ? "" : "; ") + options.experts[e] + " on";
    for (size_t i = 1; i < hosts.size(); ++i) text += absl::StrFormat("%s %d", i > 1 ? "," : "", hosts[i]);
  }
  return text.empty() ? "–" : text;
}

Json ToJson(const Traffic& traffic) {
  Json json = {{"sends_per_token", traffic.sends}, {"load", traffic.load}};
  json["imbalance"] = traffic.load.empty() ? Json() : Json(traffic.imbalance);
  return json;
}

Json ToJson(const LayerPlacement& layer) {
  Json matrix = Json::array(), hosts = Json::array(), weights = Json::array();
  for (int32_t i = 0; i < layer.counted.experts; ++i) {
    Json row = Json::array();
    for (int32_t j = 0; j < layer.counted.experts; ++j) row.push_back(static_cast<int64_t>(layer.counted.at(i, j)));
    matrix.push_back(std::move(row));
  }
  return {{"co_activation", matrix},
          {"in_order", layer.in_order},
          {"groups", layer.groups},
          {"hosts", layer.placement.hosts},
          {"host_weights", layer.placement.weights},
          {"pairs_together",
           {{"in_order", PairsTogether(layer.counted, layer.in_order)}, {"grouped", PairsTogether(layer.counted, layer.groups)}}},
          {"traffic", {{"in_order", ToJson(layer.before)}, {"grouped", ToJson(layer.grouped)}, {"replicated", ToJson(layer.replicated)}}}};
}

struct Stage {
  const char* name;
  Traffic LayerPlacement::*traffic;
};
constexpr Stage kStages[] = {
    {"in order", &LayerPlacement::before}, {"grouped", &LayerPlacement::grouped}, {"grouped, with copies", &LayerPlacement::replicated}};

}  // namespace

double PlacementReport::MeanSends(Traffic LayerPlacement::*which) const {
  return MeanOverLayersOf(layers, [&](const LayerPlacement& layer) { return (layer.*which).sends; });
}
double PlacementReport::MeanImbalance(Traffic LayerPlacement::*which) const {
  return MeanOverLayersOf(layers, [&](const LayerPlacement& layer) { return (layer.*which).imbalance; });
}
double PlacementReport::BytesPerToken(Traffic LayerPlacement::*which) const {
  return 2 * MeanSends(which) * static_cast<double>(layers.size()) * static_cast<double>(options.bytes_per_state);
}

StatusOr<PlacementReport> MakePlacementReport(const RouteRecord& record, const PlacementOptions& options) {
  const RouteRecord own = WithoutZero(record);
  if (options.devices < 1) return InvalidArgument("--devices: expected at least 1, found %d", options.devices);
  if (!(options.slack >= 0 && options.slack < 1)) return InvalidArgument("--slack: expected 0 to below 1, found %g", options.slack);
  if (own.num_experts < 1) return InvalidArgument("a placement is of experts, and there is none but zero");
  if (options.experts.size() != static_cast<size_t>(own.num_experts))
    return InvalidArgument("%d names for %d experts, zero left out", options.experts.size(), own.num_experts);
  PlacementReport report{options, own.rows(), {}};
  for (size_t l = 0; l < own.layers.size(); ++l) {
    LayerPlacement& layer = report.layers.emplace_back();
    layer.counted = CountCoActivation(own, l);
    layer.in_order = GroupInOrder(own.num_experts, options.devices);
    layer.groups = GroupExperts(layer.counted, options.devices, options.slack);
    layer.placement = Replicate(layer.counted, layer.groups, options.devices);
    layer.before = EstimateTraffic(own, l, PlaceGroups(layer.in_order, options.devices));
    layer.grouped = EstimateTraffic(own, l, PlaceGroups(layer.groups, options.devices));
    layer.replicated = EstimateTraffic(own, l, layer.placement);
  }
  return report;
}

std::string PlacementMarkdown(const PlacementReport& report) {
  const PlacementOptions& o = report.options;
  std::string text = absl::StrFormat(
      "# Placement on %d devices\n\n%d tokens, %d experts (zero is everywhere), %d layers. Sends: other devices a token goes to in a "
      "layer, there "
      "and back; load: largest of a device over the mean. Means over layers.\n\n| placement | sends a token and layer | bytes a token | "
      "largest "
      "load | copies |\n| --- | ---: | ---: | ---: | ---: |\n",
      o.devices, report.tokens, o.experts.size(), report.layers.size());
  const double copies = MeanOverLayersOf(report.layers, [](const LayerPlacement& l) { return static_cast<double>(l.placement.copies()); });
  for (const Stage& stage : kStages) {
    absl::StrAppendFormat(&text, "| %s | %.4f | %.0f | %.3f | %.1f |\n", stage.name, report.MeanSends(stage.traffic),
                          report.BytesPerToken(stage.traffic), report.MeanImbalance(stage.traffic),
                          stage.traffic == &LayerPlacement::replicated ? copies : 0.0);
  }
  text += "\n| layer | devices | copies | sends in order | grouped | with copies | load in order | grouped | with copies |\n";
  text += "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  for (size_t l = 0; l < report.layers.size(); ++l) {
    const LayerPlacement& layer = report.layers[l];
    absl::StrAppendFormat(&text, "| %d | %s | %s | %.4f | %.4f | %.4f | %.3f | %.3f | %.3f |\n", l, Devices(layer, o), Copies(layer, o),
                          layer.before.sends, layer.grouped.sends, layer.replicated.sends, layer.before.imbalance, layer.grouped.imbalance,
                          layer.replicated.imbalance);
  }
  for (size_t l = 0; l < report.layers.size(); ++l) {
    absl::StrAppendFormat(&text, "\n## Layer %d: tokens that took both (alone: in all)\n\n| |", l);
    for (const std::string& name : o.experts) text += " " + name + " |";
    text += "\n| --- |";
    for (size_t e = 0; e < o.experts.size(); ++e) text += " ---: |";
    for (size_t i = 0; i < o.experts.size(); ++i) {
      text += "\n| " + o.experts[i] + " |";
      for (size_t j = 0; j < o.experts.size(); ++j)
        absl::StrAppendFormat(&text, " %.0f |", report.layers[l].counted.at(static_cast<int32_t>(i), static_cast<int32_t>(j)));
    }
    text += "\n";
  }
  return text;
}

std::string PlacementJson(const PlacementReport& report) {
  const PlacementOptions& o = report.options;
  Json json = {{"devices", o.devices},    {"slack", o.slack},     {"bytes_per_state", o.bytes_per_state},
               {"tokens", report.tokens}, {"experts", o.experts}, {"mean", Json::object()},
               {"layers", Json::array()}};
  for (const Stage& stage : kStages) {
    json["mean"][stage.name] = {{"sends_per_token", report.MeanSends(stage.traffic)},
                                {"bytes_per_token", report.BytesPerToken(stage.traffic)},
                                {"imbalance", report.MeanImbalance(stage.traffic)}};
  }
  for (const LayerPlacement& layer : report.layers) json["layers"].push_back(ToJson(layer));
  return json.dump(1) + "\n";
}

}  // namespace switchyard::trainer
