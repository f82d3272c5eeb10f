// From one figure a layer to one a model: never pool counts over layers, since expert e of layer 3 and of layer 9 are different decisions.
#pragma once

#include <algorithm>
#include <optional>
#include <span>

namespace switchyard {

// Arithmetic mean over the layers where the figure is defined; absent when there is none.
inline std::optional<double> MeanOverLayers(std::span<const std::optional<double>> layers) {
  double sum = 0;
  int count = 0;
  for (const auto& value : layers) {
    if (!value) continue;
    sum += *value;
    ++count;
  }
  if (count == 0) return std::nullopt;
  return sum / count;
}

inline std::optional<double> MaxOverLayers(std::span<const std::optional<double>> layers) {
  std::optional<double> max;
  for (const auto& value : layers) {
    if (value) max = max ? std::max(*max, *value) : *value;
  }
  return max;
}

// Mean over the first half of the layers divided by the mean over the last half; the middle one of an odd number is in neither. Absent when
// a half has no defined value or the last one's mean is 0. One layer: 1.
inline std::optional<double> EarlyLateRatio(std::span<const std::optional<double>> layers) {
  if (layers.size() == 1 && layers[0]) return 1.0;
  const size_t half = layers.size() / 2;
  const auto early = MeanOverLayers(layers.first(half));
  const auto late = MeanOverLayers(layers.last(half));
  if (!early || !late || *late == 0) return std::nullopt;
  return *early / *late;
}

}  // namespace switchyard
