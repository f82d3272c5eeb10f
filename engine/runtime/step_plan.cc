#include "engine/runtime/step_plan.h"

namespace switchyard {

int32_t StepPlan::AddSegment(std::span<const TokenId> tokens, std::span<const int32_t> slots, const RoutingPolicy& policy,
                             bool record_routes) {
  const int32_t begin = rows();
  step_.tokens.insert(step_.tokens.end(), tokens.begin(), tokens.end());
  step_.segments.push_back({.begin = begin, .end = rows(), .slots = slots, .policy = &policy, .record_routes = record_routes});
  return static_cast<int32_t>(step_.segments.size()) - 1;
}

int32_t StepPlan::AddBranch(std::span<const TokenId> tokens, std::span<const int32_t> context, std::span<const int32_t> own,
                            const RoutingPolicy& policy, bool record_routes) {
  if (context.empty()) return AddSegment(tokens, own, policy, record_routes);
  std::vector<int32_t>& joined = joined_slots_.emplace_back(context.begin(), context.end());
  joined.insert(joined.end(), own.begin(), own.end());
  return AddSegment(tokens, joined, policy, record_routes);
}

int32_t StepPlan::AddLogits(int32_t row) {
  step_.logits.push_back({.row = row});
  return static_cast<int32_t>(step_.logits.size()) - 1;
}

int32_t StepPlan::AddLogProb(int32_t row, TokenId target) {
  step_.logprobs.push_back({.row = row, .target = target});
  return static_cast<int32_t>(step_.logprobs.size()) - 1;
}

int32_t StepPlan::AddTopLogProbs(int32_t row, int32_t count) {
  step_.top_logprobs.push_back({.row = row, .count = count});
  return static_cast<int32_t>(step_.top_logprobs.size()) - 1;
}

Status StepPlan::CheckAnswers(const StepResult& result) const {
  const auto check = [](const char* what, size_t found, size_t expected) {
    return found == expected ? OkStatus() : Internal("the model runner gave %d %s, expected %d", found, what, expected);
  };
  RETURN_IF_ERROR(check("rows of logits", result.logits.size(), step_.logits.size()));
  RETURN_IF_ERROR(check("log-probabilities", result.logprobs.size(), step_.logprobs.size()));
  RETURN_IF_ERROR(check("lists of likely tokens", result.top_logprobs.size(), step_.top_logprobs.size()));
  for (const std::vector<float>& row : result.logits) {
    RETURN_IF_ERROR(check("logits in a row", row.size(), step_.snapshot->info().vocab_size));
  }
  for (size_t i = 0; i < step_.segments.size(); ++i) {
    const Segment& segment = step_.segments[i];
    if (!segment.record_routes) continue;
    RETURN_IF_ERROR(check("route traces", result.routes.size(), step_.segments.size()));
    const RouteTrace& trace = result.routes[i];
    const size_t cells = static_cast<size_t>(trace.rows) * trace.layers;
    RETURN_IF_ERROR(check("rows in a route trace", trace.rows, segment.end - segment.begin));
    RETURN_IF_ERROR(check("experts in a route trace", trace.experts.size(), cells * trace.k));
    RETURN_IF_ERROR(check("weights in a route trace", trace.weights.size(), cells * trace.k));
    RETURN_IF_ERROR(check("margins in a route trace", trace.margin.size(), cells));
    RETURN_IF_ERROR(check("entropies in a route trace", trace.entropy.size(), cells));
  }
  return OkStatus();
}

}  // namespace switchyard
