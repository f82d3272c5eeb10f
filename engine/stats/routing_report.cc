#include "engine/stats/routing_report.h"

#include <cmath>

#include "engine/stats/gram.h"
#include "engine/stats/load.h"
#include "engine/stats/mass.h"
#include "engine/stats/over_layers.h"
#include "engine/stats/overlap.h"
#include "engine/stats/routing_entropy.h"

namespace switchyard {

const std::array<FigureName, kFigureCount> kFigureNames = {{
    {"overlap_position", "overlap (positions)", -1},
    {"overlap_position_chance", "overlap by chance", 0},
    {"overlap_vocabulary", "overlap (vocabulary)", -1},
    {"gram_mean_abs", "Gram mean abs", -1},
    {"gram_orthogonality", "Gram orthogonality", 1},
    {"gram_orthogonality_rms", "Gram orthogonality (rms)", 1},
    {"diversity", "diversity", 1},
    {"expert_entropy", "expert entropy (nats)", 1},
    {"expert_entropy_normalised", "expert entropy / ln E", 1},
    {"mass_entropy_normalised", "mass entropy / ln E", 1},
    {"cv", "CV", -1},
    {"cv_sample", "CV (sample)", -1},
    {"gini", "Gini", -1},
    {"min_max", "min / max", 1},
    {"collapse", "collapse", -1},
    {"utilisation", "utilisation", 1},
    {"imbalance", "imbalance", -1},
    {"max_vio", "MaxVio", -1},
    {"max_vio_absolute", "MaxVio (tokens)", -1},
    {"max_vio_normalised", "MaxVio (either side)", -1},
    {"max_vio_batch", "MaxVio (batch)", -1},
    {"max_share_deviation", "max share deviation", -1},
    {"routing_entropy", "routing entropy (nats)", 0},
    {"routing_entropy_normalised", "routing entropy / ln E", 0},
    {"selected_entropy", "entropy over selected", 0},
    {"sequential_consistency", "sequential consistency", 0},
    {"sequential_chance", "sequential by chance", 0},
    {"topk_overlap", "top-k overlap", 0},
    {"specialisation", "specialisation", 1},
    {"mutual_information", "I(expert; task) (nats)", 1},
    {"normalised_mutual_information", "NMI", 1},
    {"base_mass", "base mass", 0},
}};

namespace {

void FillLoad(const LayerTrace& trace, const ReportOptions& options, FigureRow* row, std::vector<double>* share) {
  const LoadFigures load = ComputeLoad(CountSelections(trace));
  (*row)[kExpertEntropy] = load.entropy;
  (*row)[kExpertEntropyNormalised] = load.normalised_entropy;
  (*row)[kCv] = load.cv;
  (*row)[kCvSample] = load.cv_sample;
  (*row)[kGini] = load.gini;
  (*row)[kMinMax] = load.min_max;
  (*row)[kCollapse] = load.collapse;
  (*row)[kUtilisation] = load.utilisation;
  (*row)[kImbalance] = load.imbalance;
  (*row)[kMaxVio] = load.max_violation;
  (*row)[kMaxVioAbsolute] = load.max_violation_absolute;
  (*row)[kMaxVioNormalised] = load.max_violation_normalised;
  (*row)[kMaxVioBatch] = BatchMaxViolation(trace, options.batch_rows);
  (*row)[kMaxShareDeviation] = load.max_share_deviation;
  (*row)[kMassEntropyNormalised] = ComputeLoad(MassShare(trace)).normalised_entropy;
  *share = load.share;
}

void FillOverlap(const LayerTrace& trace, FigureRow* row) {
  (*row)[kOverlapPosition] = PositionOverlap(trace).mean;
  if ((*row)[kOverlapPosition]) (*row)[kOverlapChance] = ChancePositionOverlap(trace.num_experts, trace.k);
  (*row)[kOverlapVocabulary] = VocabularyOverlap(trace).mean;
}

void FillGram(const LayerRecord& layer, int32_t experts, FigureRow* row) {
  if (layer.probabilities.empty() || experts < 1) return;
  const auto rows = static_cast<int32_t>(layer.probabilities.size() / static_cast<size_t>(experts));
  const GramFigures gram = ComputeGram(ProbabilityColumns(layer.probabilities, experts), rows);
  (*row)[kGramMeanAbs] = gram.mean_abs;
  (*row)[kGramOrthogonality] = gram.orthogonality;
  (*row)[kGramOrthogonalityRms] = gram.orthogonality_rms;
  (*row)[kDiversity] = gram.diversity;
}

void FillEntropy(const LayerRecord& layer, const LayerTrace& trace, FigureRow* row) {
  double sum = 0;
  int64_t rows = 0;
  for (const float nats : layer.entropy) {
    if (std::isnan(nats)) continue;
    sum += nats;
    ++rows;
  }
  if (rows > 0) {
    (*row)[kRoutingEntropy] = sum / static_cast<double>(rows);
    if (trace.num_experts > 1)
      (*row)[kRoutingEntropyNormalised] = *(*row)[kRoutingEntropy] / std::log(static_cast<double>(trace.num_experts));
  }
  (*row)[kSelectedEntropy] = SelectedEntropy(trace);
}

void FillConsistency(const LayerTrace& trace, FigureRow* row) {
  (*row)[kSequentialConsistency] = SequentialConsistency(trace);
  (*row)[kTopKOverlap] = TopKOverlap(trace);
  std::vector<double> first(static_cast<size_t>(trace.num_experts), 0.0);
  for (int64_t t = 0; t < trace.rows(); ++t) {
    if (trace.chosen(t).front() != LayerTrace::kUnused) first[trace.chosen(t).front()] += 1;
  }
  if ((*row)[kSequentialConsistency]) (*row)[kSequentialChance] = ChanceConsistency(ComputeLoad(first).share);
}

TaskCounts CountTasks(const RouteRecord& record, const LayerTrace& trace) {
  TaskCounts counts{.num_experts = record.num_experts, .num_tasks = record.num_tasks, .counts = {}};
  counts.counts.resize(static_cast<size_t>(record.num_experts) * record.num_tasks);
  for (int64_t t = 0; t < trace.rows(); ++t) {
    for (const int16_t expert : trace.chosen(t)) {
      if (expert != LayerTrace::kUnused) counts.counts[static_cast<size_t>(expert) * record.num_tasks + record.tasks[t]] += 1;
    }
  }
  return Balanced(counts);
}

using Matrix = std::vector<std::optional<double>>;

// `balanced` holds P(expert given task) already; a task without selections has none.
Matrix ShareByTask(const TaskCounts& balanced) {
  Matrix shares(balanced.counts.size());
  for (int32_t q = 0; q < balanced.num_tasks; ++q) {
    double sum = 0;
    for (int32_t e = 0; e < balanced.num_experts; ++e) sum += balanced.at(e, q);
    for (int32_t e = 0; e < balanced.num_experts && sum > 0; ++e)
      shares[static_cast<size_t>(e) * balanced.num_tasks + q] = balanced.at(e, q);
  }
  return shares;
}

Matrix MeanOfMatrices(const std::vector<Matrix>& layers) {
  if (layers.empty()) return {};
  Matrix mean(layers.front().size());
  for (size_t i = 0; i < mean.size(); ++i) {
    Matrix cell;
    for (const Matrix& layer : layers) cell.push_back(layer[i]);
    mean[i] = MeanOverLayers(cell);
  }
  return mean;
}

RoutingFigures Fill(const RouteRecord& record, const ReportOptions& options) {
  RoutingFigures figures;
  std::vector<Matrix> shares, lifts;
  for (size_t l = 0; l < record.layers.size(); ++l) {
    const LayerTrace trace = record.TraceOf(l);
    FigureRow row{};
    FillLoad(trace, options, &row, &figures.load.emplace_back());
    FillOverlap(trace, &row);
    FillGram(record.layers[l], record.num_experts, &row);
    FillEntropy(record.layers[l], trace, &row);
    FillConsistency(trace, &row);
    if (record.num_tasks > 0) {
      const TaskCounts counts = CountTasks(record, trace);
      const Specialisation tasks = ComputeSpecialisation(counts);
      row[kSpecialisation] = tasks.mean;
      row[kMutualInformation] = tasks.mutual_information;
      row[kNormalisedMutualInformation] = tasks.normalised;
      shares.push_back(ShareByTask(counts));
      lifts.push_back(Lift(counts));
    }
    figures.layers.push_back(row);
  }
  figures.by_task = MeanOfMatrices(shares);
  figures.lift = MeanOfMatrices(lifts);
  return figures;
}

void Summarise(RoutingFigures* figures) {
  for (int f = 0; f < kFigureCount; ++f) {
    Matrix layers;
    for (const FigureRow& row : figures->layers) layers.push_back(row[f]);
    figures->mean[f] = MeanOverLayers(layers);
    figures->max[f] = MaxOverLayers(layers);
    if (f == kUtilisation) figures->early_late = EarlyLateRatio(layers);
  }
}

}  // namespace

RoutingReport MakeRoutingReport(const RouteRecord& record, const ReportOptions& options) {
  RoutingReport report;
  report.tokens = record.rows();
  report.with_zero = Fill(record, options);
  report.domains_only = record.zero_expert < 0 ? report.with_zero : Fill(WithoutZero(record), options);
  for (size_t l = 0; l < record.layers.size(); ++l) {
    report.with_zero.layers[l][kBaseMass] = report.domains_only.layers[l][kBaseMass] = BaseMass(record.TraceOf(l), record.zero_expert);
  }
  Summarise(&report.with_zero);
  Summarise(&report.domains_only);
  return report;
}

Agreement CompareRecords(const RouteRecord& a, const RouteRecord& b) {
  if (a.tokens != b.tokens || a.layers.size() != b.layers.size() || a.num_experts != b.num_experts) return {};
  Matrix sets, best, jaccard;
  for (size_t l = 0; l < a.layers.size(); ++l) {
    const Agreement layer = CompareRoutes(a.TraceOf(l), b.TraceOf(l));
    sets.push_back(layer.same_set);
    best.push_back(layer.same_best);
    jaccard.push_back(layer.mean_jaccard);
  }
  return {.same_set = MeanOverLayers(sets), .same_best = MeanOverLayers(best), .mean_jaccard = MeanOverLayers(jaccard)};
}

}  // namespace switchyard
