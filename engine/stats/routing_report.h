// A whole report on a model's routes: every figure of this room, layer by layer and then the mean over the layers, with the zero expert and
// over the others alone. Trainer, tools and tests fill it from the same record, so a figure has one definition everywhere.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/stats/consistency.h"
#include "engine/stats/route_record.h"
#include "engine/stats/specialisation.h"

namespace switchyard {

// Figures of one layer. docs/comparing.md has a line for each.
enum Figure {
  kOverlapPosition,
  kOverlapChance,
  kOverlapVocabulary,
  kGramMeanAbs,
  kGramOrthogonality,
  kGramOrthogonalityRms,
  kDiversity,
  kExpertEntropy,
  kExpertEntropyNormalised,
  kMassEntropyNormalised,
  kCv,
  kCvSample,
  kGini,
  kMinMax,
  kCollapse,
  kUtilisation,
  kImbalance,
  kMaxVio,
  kMaxVioAbsolute,
  kMaxVioNormalised,
  kMaxVioBatch,
  kMaxShareDeviation,
  kRoutingEntropy,
  kRoutingEntropyNormalised,
  kSelectedEntropy,
  kSequentialConsistency,
  kSequentialChance,
  kTopKOverlap,
  kSpecialisation,
  kMutualInformation,
  kNormalisedMutualInformation,
  kBaseMass,
  kFigureCount,
};

struct FigureName {
  std::string_view id;     // in JSON
  std::string_view label;  // in tables
  int better = 0;          // +1: more is better, -1: less, 0: neither by itself
};
extern const std::array<FigureName, kFigureCount> kFigureNames;

using FigureRow = std::array<std::optional<double>, kFigureCount>;

// One variant: with the zero expert, or over the others alone.
struct RoutingFigures {
  std::vector<FigureRow> layers;               // [L]
  FigureRow mean{};                            // over the layers where a figure is defined
  FigureRow max{};                             // over the same
  std::optional<double> early_late;            // utilisation of the first half of the layers / of the last half
  std::vector<std::vector<double>> load;       // [L][E] shares of the selections; empty for a layer without
  std::vector<std::optional<double>> by_task;  // [E, Q] P(expert given task), mean over the layers; empty without tasks
  std::vector<std::optional<double>> lift;     // [E, Q] the same / P(expert), tasks weighted alike, mean over the layers
};

struct RoutingReport {
  int64_t tokens = 0;        // T: collapse and mutual information depend on it
  RoutingFigures with_zero;  // all routable experts
  RoutingFigures
      domains_only;  // the same as with_zero when there is no zero expert, but for base_mass, which both have from the whole record
};

struct ReportOptions {
  int64_t batch_rows = 512;  // tokens of a batch for the batch form of MaxVio
};

// REQUIRES: what route_record.h says of the sizes. Cost: sorts every expert's tokens, and E² products over the probabilities' rows, a
// layer.
RoutingReport MakeRoutingReport(const RouteRecord& record, const ReportOptions& options = {});

// Agreement of two records of the same tokens (two checkpoints of one router), layer by layer, then averaged. All absent when tokens,
// layers or experts differ.
Agreement CompareRecords(const RouteRecord& a, const RouteRecord& b);

}  // namespace switchyard
