#include "trainer/run/distilled_tables.h"

#include <algorithm>
#include <numeric>

#include "trainer/data/batch_sampler.h"

namespace switchyard::trainer {

namespace {

// [L] of [vocabulary, E]: how often a token of the id chose the expert first.
using Choices = std::vector<std::vector<int64_t>>;

Status CountChoices(TrainableModel& model, const RouterModule& router, const PackedBatch& batch, Choices* choices) {
  RoutePlan plan;
  plan.router = &router;
  EvaluationDetail detail;
  RETURN_IF_ERROR(model.Evaluate(batch, plan, &detail).status());
  for (size_t l = 0; l < detail.routes.size(); ++l) {
    const LayerRoutes& routes = detail.routes[l];
    for (int64_t row = 0; row < routes.rows; ++row) {
      const int16_t expert = routes.experts[row * routes.k];
      if (expert != LayerRoutes::kUnused) ++(*choices)[l][int64_t{batch.tokens[row]} * router.num_experts() + expert];
    }
  }
  return OkStatus();
}

int32_t MostFrequent(const int64_t* counts, int32_t experts) {
  return static_cast<int32_t>(std::max_element(counts, counts + experts) - counts);
}

// Adds the choices the table repeats, and all, to the two counts.
std::vector<int32_t> TableOf(const std::vector<int64_t>& choices, int32_t experts, int32_t unseen, int64_t* repeated, int64_t* all) {
  std::vector<int64_t> load(static_cast<size_t>(experts));
  for (size_t i = 0; i < choices.size(); ++i) load[i % load.size()] += choices[i];
  const int32_t otherwise = unseen >= 0 ? unseen : MostFrequent(load.data(), experts);
  *all += std::accumulate(load.begin(), load.end(), int64_t{0});
  std::vector<int32_t> table;
  for (const int64_t* own = choices.data(); own < choices.data() + choices.size(); own += experts) {
    const int32_t most = MostFrequent(own, experts);
    table.push_back(own[most] > 0 ? most : otherwise);
    *repeated += own[most];
  }
  return table;
}

}  // namespace

StatusOr<DistilledTables> DistilTables(TrainableModel& model, const RouterModule& router, const Dataset& data, int32_t vocabulary,
                                       int32_t unseen, int64_t tokens_per_pass) {
  std::vector<bool> seen(static_cast<size_t>(vocabulary));
  for (const Example& example : data.examples) {
    for (const int32_t token : example.tokens) {
      if (token < 0 || token >= vocabulary) return OutOfRange("token id %d, the base has %d", token, vocabulary);
      seen[token] = true;
    }
  }
  const int32_t experts = router.num_experts();
  Choices choices(static_cast<size_t>(router.num_layers()), std::vector<int64_t>(seen.size() * static_cast<size_t>(experts)));
  std::vector<int64_t> some;
  int64_t tokens = 0;
  for (size_t i = 0; i < data.examples.size(); ++i) {
    some.push_back(static_cast<int64_t>(i));
    tokens += static_cast<int64_t>(data.examples[i].tokens.size());
    if (tokens < tokens_per_pass && i + 1 < data.examples.size()) continue;
    RETURN_IF_ERROR(CountChoices(model, router, Pack(data, some), &choices));
    some.clear();
    tokens = 0;
  }
  DistilledTables distilled;
  int64_t repeated = 0, all = 0;
  for (const std::vector<int64_t>& layer : choices) distilled.tables.push_back(TableOf(layer, experts, unseen, &repeated, &all));
  distilled.agreement = all == 0 ? 0 : static_cast<double>(repeated) / static_cast<double>(all);
  distilled.seen = std::count(seen.begin(), seen.end(), true);
  return distilled;
}

}  // namespace switchyard::trainer
