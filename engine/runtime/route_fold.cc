#include "engine/runtime/route_fold.h"

#include <algorithm>
#include <cmath>

namespace switchyard {
namespace {

template <typename T>
void AddInto(const std::vector<T>& from, std::vector<T>* into) {
  if (into->size() < from.size()) into->resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) (*into)[i] += from[i];
}

template <typename T>
void Append(const std::vector<T>& tail, std::vector<T>* to) {
  to->insert(to->end(), tail.begin(), tail.end());
}

}  // namespace

RouteSums::Expert* RouteTotals::Find(const SnapshotInfo::Expert& expert, size_t layers) {
  for (RouteSums::Expert& known : sums_.experts) {
    if (known.name == expert.name) return &known;
  }
  const bool full = sums_.experts.size() >= kMaxExperts;
  if (full && expert.name != "other") {
    SnapshotInfo::Expert other;
    other.name = "other";
    return Find(other, layers);
  }
  sums_.experts.push_back({expert.name, std::vector<uint64_t>(layers), std::vector<double>(layers)});
  return &sums_.experts.back();
}

void RouteTotals::Add(const RouteCounts& step, const SnapshotInfo& info) {
  if (step.rows.empty()) return;
  const size_t layers = step.rows.size(), experts = info.experts.size();
  std::lock_guard lock(mutex_);
  for (size_t e = 0; e < experts; ++e) {
    RouteSums::Expert* sums = Find(info.experts[e], layers);
    for (size_t l = 0; l < layers; ++l) {
      sums->tokens[l] += step.tokens[l * experts + e];
      sums->weight[l] += step.weight[l * experts + e];
    }
    if (!info.experts[e].is_zero) continue;
    sums_.zero_weight.resize(layers);
    for (size_t l = 0; l < layers; ++l) sums_.zero_weight[l] += step.weight[l * experts + e];
  }
  AddInto(step.entropy_sum, &sums_.entropy_sum);
  AddInto(step.entropy_rows, &sums_.entropy_rows);
  AddInto(step.base_mass, &sums_.base_mass);
  AddInto(step.rows, &sums_.rows);
  sums_.pairs.resize(layers);  // also when a runner counts none
  sums_.flips.resize(layers);
  AddInto(step.pairs, &sums_.pairs);
  AddInto(step.flips, &sums_.flips);
  AddLearned(step, info);
}

void RouteTotals::AddLearned(const RouteCounts& step, const SnapshotInfo& info) {
  ++steps_;
  if (std::all_of(step.entropy_rows.begin(), step.entropy_rows.end(), [](uint64_t rows) { return rows == 0; })) return;
  RouterSums& sums = FindRouter(info.generation);
  sums.experts = info.experts.size();
  AddInto(step.learned_tokens, &sums.tokens);
  AddInto(step.learned_weight, &sums.weight);
  AddInto(step.entropy_sum, &sums.entropy_sum);
  AddInto(step.entropy_rows, &sums.rows);
  AddInto(step.pairs, &sums.pairs);
  AddInto(step.flips, &sums.flips);
}

// A new one takes the place of the one that was used longest ago.
RouterSums& RouteTotals::FindRouter(const std::string& generation) {
  auto found = std::find_if(routers_.begin(), routers_.end(), [&](const UsedRouter& r) { return r.sums.generation == generation; });
  if (found == routers_.end() && routers_.size() < kMaxSnapshots) {
    found = routers_.insert(routers_.end(), UsedRouter{});
    found->sums.generation = generation;
  } else if (found == routers_.end()) {
    found = std::min_element(routers_.begin(), routers_.end(), [](const auto& a, const auto& b) { return a.used < b.used; });
    found->sums = {};
    found->sums.generation = generation;
  }
  found->used = steps_;
  return found->sums;
}

std::vector<RouterSums> RouteTotals::CopyRouters() const {
  std::lock_guard lock(mutex_);
  std::vector<RouterSums> all;
  for (const UsedRouter& router : routers_) all.push_back(router.sums);
  return all;
}

RouteSums RouteTotals::Copy() const {
  std::lock_guard lock(mutex_);
  return sums_;
}

Status AppendTrace(const RouteTrace& tail, RouteTrace* trace) {
  if (tail.rows == 0) return OkStatus();
  if (trace->rows == 0) {
    *trace = tail;
    return OkStatus();
  }
  if (trace->layers != tail.layers || trace->k != tail.k) {
    return Internal("routes of one request changed shape from %d layers x %d slots to %d x %d", trace->layers, trace->k, tail.layers,
                    tail.k);
  }
  trace->rows += tail.rows;
  Append(tail.experts, &trace->experts);
  Append(tail.weights, &trace->weights);
  Append(tail.margin, &trace->margin);
  Append(tail.entropy, &trace->entropy);
  return OkStatus();
}

RouteCounts CountTrace(const RouteTrace& trace, const SnapshotInfo& info) {
  const size_t num_experts = info.experts.size();
  const size_t layers = trace.layers;
  RouteCounts counts;
  counts.tokens.assign(layers * num_experts, 0);
  counts.weight.assign(layers * num_experts, 0.0);
  counts.entropy_sum.assign(layers, 0.0);
  counts.entropy_rows.assign(layers, 0);
  counts.base_mass.assign(layers, 0.0);
  counts.rows.assign(layers, trace.rows);
  counts.learned_tokens.assign(layers * num_experts, 0);
  counts.learned_weight.assign(layers * num_experts, 0.0);
  counts.pairs.assign(layers, 0);
  counts.flips.assign(layers, 0);
  for (size_t cell = 0; cell < trace.rows * layers; ++cell) {
    const size_t layer = cell % layers;
    const bool learned = !std::isnan(trace.entropy[cell]);
    double base_mass = 1;
    for (size_t i = cell * trace.k; i < (cell + 1) * trace.k; ++i) {
      const ExpertIndex expert = trace.experts[i];
      if (expert == kNoExpert) continue;
      counts.tokens[layer * num_experts + expert] += 1;
      counts.weight[layer * num_experts + expert] += trace.weights[i];
      if (learned) {
        counts.learned_tokens[layer * num_experts + expert] += 1;
        counts.learned_weight[layer * num_experts + expert] += trace.weights[i];
      }
      if (!info.experts[expert].is_zero) base_mass -= trace.weights[i];
    }
    counts.base_mass[layer] += base_mass;
    if (!learned) continue;
    counts.entropy_sum[layer] += trace.entropy[cell];
    counts.entropy_rows[layer] += 1;
    if (cell < layers) continue;  // the first row follows none
    const ExpertIndex before = trace.experts[(cell - layers) * trace.k], here = trace.experts[cell * trace.k];
    if (before == kNoExpert && here == kNoExpert) continue;
    counts.pairs[layer] += 1;
    counts.flips[layer] += before != here;
  }
  return counts;
}

}  // namespace switchyard
