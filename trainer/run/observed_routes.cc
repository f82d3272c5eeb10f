#include "trainer/run/observed_routes.h"

#include "trainer/data/batch_sampler.h"

namespace switchyard::trainer {

namespace {

// Adds the routes of one example.
void AddRoutes(const PackedBatch& batch, const EvaluationDetail& detail, int32_t domain, RouteRecord* record) {
  const int32_t sequence = record->sequences.empty() ? 0 : record->sequences.back() + 1;
  record->tokens.insert(record->tokens.end(), batch.tokens.begin(), batch.tokens.end());
  record->sequences.resize(record->tokens.size(), sequence);
  record->tasks.resize(record->tokens.size(), domain);
  for (size_t l = 0; l < record->layers.size(); ++l) {
    const LayerRoutes& routes = detail.routes[l];
    LayerRecord& layer = record->layers[l];
    record->k = routes.k;
    layer.experts.insert(layer.experts.end(), routes.experts.begin(), routes.experts.end());
    layer.weights.insert(layer.weights.end(), routes.weights.begin(), routes.weights.end());
    layer.entropy.insert(layer.entropy.end(), routes.entropy.begin(), routes.entropy.end());
  }
}

}  // namespace

StatusOr<RouteRecord> RecordRoutes(TrainableModel& model, const RouterModule& router, const std::vector<LoraExpert>& experts,
                                   const Dataset& data) {
  RouteRecord record;
  record.num_experts = static_cast<int32_t>(experts.size());
  for (size_t e = 0; e < experts.size(); ++e) {
    if (experts[e].is_zero) record.zero_expert = static_cast<int16_t>(e);
  }
  record.num_tasks = static_cast<int32_t>(data.domains.size());
  record.layers.resize(static_cast<size_t>(router.num_layers()));
  RoutePlan plan;
  plan.router = &router;
  for (size_t i = 0; i < data.examples.size(); ++i) {
    const PackedBatch batch = Pack(data, {static_cast<int64_t>(i)});
    EvaluationDetail detail;
    RETURN_IF_ERROR(model.Evaluate(batch, plan, &detail).status());
    AddRoutes(batch, detail, data.examples[i].domain, &record);
  }
  return record;
}

}  // namespace switchyard::trainer
