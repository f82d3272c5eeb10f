#include "server/reply_parts.h"

#include <cmath>

namespace switchyard {
namespace {

// Sums over some layers of one request, from which a profile is made.
struct ProfileSums {
  std::vector<uint64_t> tokens;  // [E]
  std::vector<double> weight;    // [E]
  double entropy = 0, base_mass = 0, margin = 0;
  uint64_t entropy_rows = 0, rows = 0, margin_rows = 0;

  explicit ProfileSums(size_t experts) : tokens(experts), weight(experts) {}

  void AddLayer(const RouteSummary& summary, int32_t layer) {
    const size_t experts = tokens.size();
    for (size_t e = 0; e < experts; ++e) {
      tokens[e] += summary.counts.tokens[layer * experts + e];
      weight[e] += summary.counts.weight[layer * experts + e];
    }
    entropy += summary.counts.entropy_sum[layer];
    entropy_rows += summary.counts.entropy_rows[layer];
    base_mass += summary.counts.base_mass[layer];
    rows += summary.counts.rows[layer];
    const RouteTrace& trace = summary.trace;
    for (int32_t row = 0; row < trace.rows; ++row) {
      const float m = trace.margin[static_cast<size_t>(row) * trace.layers + layer];
      if (!std::isfinite(m)) continue;
      margin += m;
      ++margin_rows;
    }
  }
};

void FillProfile(const ProfileSums& sums, const SnapshotInfo& info, v1::RouteProfile* out) {
  uint64_t slots = 0;
  double mass = 0;
  for (size_t e = 0; e < sums.tokens.size(); ++e) {
    slots += sums.tokens[e];
    mass += sums.weight[e];
  }
  double zero = 0;
  bool has_zero = false;
  for (size_t e = 0; e < sums.tokens.size(); ++e) {
    v1::ExpertShare* share = out->add_experts();
    share->set_expert(info.experts[e].name);
    share->set_tokens(sums.tokens[e]);
    share->set_load_share(slots > 0 ? static_cast<double>(sums.tokens[e]) / static_cast<double>(slots) : 0);
    share->set_weight_share(mass > 0 ? sums.weight[e] / mass : 0);
    if (info.experts[e].is_zero) {
      has_zero = true;
      zero += sums.weight[e];
    }
  }
  const auto rows = static_cast<double>(sums.rows);
  out->set_rows(sums.rows);
  if (sums.rows > 0 && has_zero) out->set_zero_share(zero / rows);
  if (sums.rows > 0) out->set_base_mass(sums.base_mass / rows);
  if (sums.entropy_rows > 0) out->set_mean_entropy(sums.entropy / static_cast<double>(sums.entropy_rows));
  if (sums.margin_rows > 0) out->set_mean_margin(sums.margin / static_cast<double>(sums.margin_rows));
}

void FillTokenRoutes(const RouteTrace& trace, const std::vector<TokenId>& tokens, const Tokenizer& tokenizer, v1::Routes* out) {
  for (int32_t row = 0; row < trace.rows; ++row) {
    v1::TokenRoute* route = out->add_tokens();
    if (static_cast<size_t>(row) < tokens.size()) {
      route->set_token(tokens[row]);
      if (auto text = tokenizer.Decode({tokens[row]}, /*skip_special_tokens=*/false); text.ok()) route->set_text(*text);
    }
    for (int32_t layer = 0; layer < trace.layers; ++layer) {
      v1::LayerRoute* at = route->add_layers();
      const size_t cell = static_cast<size_t>(row) * trace.layers + layer;
      for (int32_t slot = 0; slot < trace.k; ++slot) {
        if (trace.experts[cell * trace.k + slot] == kNoExpert) continue;
        at->add_experts(trace.experts[cell * trace.k + slot]);
        at->add_weights(trace.weights[cell * trace.k + slot]);
      }
      if (std::isfinite(trace.margin[cell])) at->set_margin(trace.margin[cell]);
      if (std::isfinite(trace.entropy[cell])) at->set_entropy(trace.entropy[cell]);
    }
  }
}

}  // namespace

void FillUsage(const TaskUsage& usage, v1::Usage* out) {
  out->set_prompt_tokens(usage.prompt_tokens);
  out->set_cached_tokens(usage.cached_tokens);
  out->set_computed_tokens(usage.computed_tokens);
  out->set_generated_tokens(usage.generated_tokens);
}

void FillTimings(const TaskUsage& usage, v1::Timings* out) {
  const Timings& t = usage.timings;
  out->set_queue_ms(t.queue_ms);
  out->set_prefill_ms(t.prefill_ms);
  out->set_total_ms(t.total_ms);
  const double decode_ms = t.total_ms - t.queue_ms - t.prefill_ms;
  if (usage.generated_tokens > 1 && decode_ms > 0)
    out->set_tokens_per_second(1e3 * static_cast<double>(usage.generated_tokens - 1) / decode_ms);
}

void FillGenerations(const SnapshotInfo& info, v1::Generations* out) {
  out->set_snapshot(info.generation);
  out->set_base(info.base_generation);
  out->set_base_name(info.base_name);
  out->set_router(info.router_generation);
  out->set_router_name(info.router_name);
  for (const SnapshotInfo::Expert& expert : info.experts) {
    v1::ExpertGeneration* e = out->add_experts();
    e->set_name(expert.name);
    e->set_generation(expert.generation);
    e->set_is_zero(expert.is_zero);
  }
}

void FillRoutes(const RouteSummary& summary, const SnapshotInfo& info, v1::RouteLevel level, const std::vector<TokenId>& tokens,
                const Tokenizer& tokenizer, v1::Routes* out) {
  if (level < v1::ROUTE_LEVEL_SUMMARY || summary.counts.rows.empty()) return;
  const auto layers = static_cast<int32_t>(summary.counts.rows.size());
  ProfileSums all(info.experts.size());
  for (int32_t layer = 0; layer < layers; ++layer) all.AddLayer(summary, layer);
  FillProfile(all, info, out->mutable_profile());
  if (level < v1::ROUTE_LEVEL_LAYER) return;
  for (int32_t layer = 0; layer < layers; ++layer) {
    ProfileSums one(info.experts.size());
    one.AddLayer(summary, layer);
    v1::LayerProfile* profile = out->add_layers();
    profile->set_layer(layer);
    FillProfile(one, info, profile->mutable_profile());
  }
  if (level >= v1::ROUTE_LEVEL_TOKEN) FillTokenRoutes(summary.trace, tokens, tokenizer, out);
}

}  // namespace switchyard
