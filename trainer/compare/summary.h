// One figure of a method out of its artifacts: with several seeds their mean and interval.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "engine/stats/interval.h"
#include "trainer/compare/comparison.h"

namespace switchyard::trainer {

using Figures = std::optional<MeanWithSpread>;

// Mean over the artifacts; absent as soon as one of them lacks the figure.
Figures Over(const MethodResult& method, const std::function<std::optional<double>(const ArtifactResult&)>& figure);

// Shares of right answers, 0 to 1. One artifact: Wilson's interval of the questions; several: that of the seeds. `set` past the last one:
// the mean over the sets, each with the same weight.
Figures AccuracyOf(const MethodResult& method, Judge judge, size_t set);

// A routing figure's mean over the layers, by variant.
Figures RoutingOf(const MethodResult& method, Figure figure, bool with_zero);
// [E, Q] or empty: P(expert given task), experts with zero; mean over the artifacts. absent cells stay absent.
std::vector<std::optional<double>> TaskSharesOf(const MethodResult& method);
// [L, E] load shares; absent in layers where nothing was selected.
std::vector<std::vector<std::optional<double>>> LoadOf(const MethodResult& method);

// "0.123", "0.123 ± 0.004", or a dash.
std::string Show(const Figures& figures, int decimals, double scale = 1);

}  // namespace switchyard::trainer
