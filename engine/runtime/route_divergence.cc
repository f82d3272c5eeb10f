#include "engine/runtime/route_divergence.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "engine/stats/divergence.h"

namespace switchyard {
namespace {

constexpr int kBase = 0;

// The experts of both snapshots under numbers of their own.
class CommonExperts {
 public:
  std::vector<int> Number(const SnapshotInfo& info) {
    std::vector<int> numbers;
    for (const SnapshotInfo::Expert& expert : info.experts) {
      const auto [entry, fresh] = numbers_.try_emplace({expert.name, expert.generation}, static_cast<int>(numbers_.size()) + 1);
      numbers.push_back(expert.is_zero ? kBase : entry->second);
    }
    return numbers;
  }
  size_t size() const { return numbers_.size() + 1; }

 private:
  std::map<std::pair<std::string, std::string>, int> numbers_;
};

struct Choice {
  int best = kBase;
  std::set<int> selected;
  std::vector<double> weights;  // by common number, sum 1
};

Choice ChoiceOf(const RouteTrace& trace, const std::vector<int>& numbers, size_t size, size_t row_and_layer) {
  Choice choice{kBase, {}, std::vector<double>(size)};
  double given = 0;
  for (int slot = 0; slot < trace.k; ++slot) {
    const ExpertIndex expert = trace.experts[row_and_layer * trace.k + slot];
    if (expert == kNoExpert || static_cast<size_t>(expert) >= numbers.size()) {
      choice.selected.insert(kBase);
      continue;
    }
    const double weight = trace.weights[row_and_layer * trace.k + slot];
    if (slot == 0) choice.best = numbers[expert];
    choice.selected.insert(numbers[expert]);
    choice.weights[numbers[expert]] += weight;
    given += weight;
  }
  choice.weights[kBase] += std::max(0.0, 1 - given);
  return choice;
}

}  // namespace

void RouteDivergence::Add(const RouteDivergence& other) {
  if (layers.size() < other.layers.size()) layers.resize(other.layers.size());
  for (size_t i = 0; i < other.layers.size(); ++i) {
    layers[i].rows += other.layers[i].rows;
    layers[i].best_changed += other.layers[i].best_changed;
    layers[i].set_changed += other.layers[i].set_changed;
    layers[i].js_nats += other.layers[i].js_nats;
  }
}

RouteDivergence::Layer RouteDivergence::Sum() const {
  Layer sum;
  for (const Layer& layer : layers) {
    sum.rows += layer.rows;
    sum.best_changed += layer.best_changed;
    sum.set_changed += layer.set_changed;
    sum.js_nats += layer.js_nats;
  }
  return sum;
}

StatusOr<RouteDivergence> CompareTraces(const RouteTrace& a, const SnapshotInfo& a_info, const RouteTrace& b, const SnapshotInfo& b_info) {
  if (a.rows != b.rows || a.layers != b.layers) {
    return InvalidArgument("routes of %d rows and %d layers cannot be compared with those of %d rows and %d layers", a.rows, a.layers,
                           b.rows, b.layers);
  }
  CommonExperts common;
  const std::vector<int> a_numbers = common.Number(a_info), b_numbers = common.Number(b_info);
  RouteDivergence result;
  result.layers.resize(a.layers);
  for (size_t i = 0; i < static_cast<size_t>(a.rows) * a.layers; ++i) {
    const Choice from = ChoiceOf(a, a_numbers, common.size(), i), to = ChoiceOf(b, b_numbers, common.size(), i);
    RouteDivergence::Layer& layer = result.layers[i % a.layers];
    layer.rows += 1;
    layer.best_changed += from.best != to.best;
    layer.set_changed += from.selected != to.selected;
    layer.js_nats += JensenShannonDivergence(from.weights, to.weights).value_or(0);
  }
  return result;
}

}  // namespace switchyard
