#include "engine/stats/route_record.h"

#include <limits>
#include <span>

#include "engine/stats/routing_entropy.h"

namespace switchyard {
namespace {

void DivideBySum(std::span<float> row) {
  double sum = 0;
  for (const float x : row) sum += x;
  if (sum <= 0) return;
  for (float& x : row) x = static_cast<float>(x / sum);
}

// The slots of one token without the zero expert, in their order.
void DropSlots(const RouteRecord& record, size_t begin, LayerRecord* layer) {
  const auto slots = static_cast<size_t>(record.k);
  size_t next = begin;
  for (size_t slot = begin; slot < begin + slots; ++slot) {
    const int16_t expert = layer->experts[slot];
    if (expert == record.zero_expert || expert == LayerTrace::kUnused) continue;
    layer->experts[next] = static_cast<int16_t>(expert - (expert > record.zero_expert ? 1 : 0));
    layer->weights[next++] = layer->weights[slot];
  }
  for (; next < begin + slots; ++next) {
    layer->experts[next] = LayerTrace::kUnused;
    layer->weights[next] = 0;
  }
  DivideBySum(std::span(layer->weights).subspan(begin, slots));
}

void DropProbabilities(const RouteRecord& record, LayerRecord* layer) {
  const auto experts = static_cast<size_t>(record.num_experts), zero = static_cast<size_t>(record.zero_expert);
  const size_t rows = experts == 0 ? 0 : layer->probabilities.size() / experts;
  std::vector<float> rest;
  std::vector<double> row;
  layer->entropy.clear();
  for (size_t t = 0; t < rows; ++t) {
    for (size_t e = 0; e < experts; ++e) {
      if (e != zero) rest.push_back(layer->probabilities[t * experts + e]);
    }
    const auto added = std::span(rest).last(experts - 1);
    DivideBySum(added);
    row.assign(added.begin(), added.end());
    layer->entropy.push_back(static_cast<float>(EntropyOf(row)));
  }
  layer->probabilities = std::move(rest);
  if (!layer->entropy.empty()) layer->entropy.resize(static_cast<size_t>(record.rows()), std::numeric_limits<float>::quiet_NaN());
}

}  // namespace

RouteRecord WithoutZero(const RouteRecord& record) {
  RouteRecord rest = record;
  if (record.zero_expert < 0) return rest;
  for (LayerRecord& layer : rest.layers) {
    for (size_t begin = 0; begin < layer.experts.size(); begin += static_cast<size_t>(record.k)) DropSlots(record, begin, &layer);
    DropProbabilities(record, &layer);
  }
  rest.num_experts -= 1;
  rest.zero_expert = -1;
  return rest;
}

}  // namespace switchyard
