#include "client/top_view.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "absl/strings/str_format.h"
#include "client/admin_view.h"
#include "client/generate_view.h"
#include "client/heat_map.h"
#include "client/screen_text.h"
#include "client/table.h"

namespace switchyard::client {
namespace {

// Counters of both looks belong to the same experts and only grew.
bool Comparable(const v1::Utilisation& before, const v1::Utilisation& now) {
  if (before.experts_size() != now.experts_size() || before.layers_size() != now.layers_size() || before.steps() > now.steps())
    return false;
  for (int e = 0; e < now.experts_size(); ++e) {
    if (before.experts(e) != now.experts(e)) return false;
  }
  for (int l = 0; l < now.layers_size(); ++l) {
    if (before.layers(l).tokens_size() != now.layers(l).tokens_size() || before.layers(l).weight_size() != now.layers(l).weight_size() ||
        before.layers(l).rows() > now.layers(l).rows()) {
      return false;
    }
  }
  return true;
}

struct Figures {
  std::vector<std::vector<double>> weight;  // [L][E] shares of the layer's weight
  std::vector<double> tokens;               // [E] selections over all layers
  std::vector<double> mean_share;           // [E] mean over layers
  double entropy = 0;                       // nats, mean
  bool has_entropy = false;
  uint64_t rows = 0;
};

double At(const google::protobuf::RepeatedField<double>& values, int i) { return i < values.size() ? values.Get(i) : 0; }
double At(const google::protobuf::RepeatedField<uint64_t>& values, int i) {
  return i < values.size() ? static_cast<double>(values.Get(i)) : 0;
}

Figures Difference(const v1::Utilisation* before, const v1::Utilisation& now) {
  const int experts = now.experts_size();
  Figures figures;
  figures.tokens.assign(experts, 0);
  figures.mean_share.assign(experts, 0);
  double entropy_sum = 0, entropy_rows = 0;
  int layers_with_weight = 0;
  for (int l = 0; l < now.layers_size(); ++l) {
    const v1::Utilisation::Layer& layer = now.layers(l);
    const v1::Utilisation::Layer* old = before == nullptr ? nullptr : &before->layers(l);
    std::vector<double> weight(experts);
    for (int e = 0; e < experts; ++e) {
      weight[e] = std::max(0.0, At(layer.weight(), e) - (old == nullptr ? 0 : At(old->weight(), e)));
      figures.tokens[e] += At(layer.tokens(), e) - (old == nullptr ? 0 : At(old->tokens(), e));
    }
    const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
    if (total > 0) ++layers_with_weight;
    for (int e = 0; e < experts; ++e) {
      weight[e] = total > 0 ? weight[e] / total : 0;
      figures.mean_share[e] += weight[e];
    }
    figures.weight.push_back(std::move(weight));
    entropy_sum += layer.entropy_sum() - (old == nullptr ? 0 : old->entropy_sum());
    entropy_rows += static_cast<double>(layer.entropy_rows() - (old == nullptr ? 0 : old->entropy_rows()));
    figures.rows += layer.rows() - (old == nullptr ? 0 : old->rows());
  }
  for (double& share : figures.mean_share) share = layers_with_weight > 0 ? share / layers_with_weight : 0;
  figures.has_entropy = entropy_rows > 0;
  if (figures.has_entropy) figures.entropy = entropy_sum / entropy_rows;
  return figures;
}

std::string Rate(uint64_t now, uint64_t before, double seconds) {
  if (seconds <= 0) return absl::StrFormat("%d", now);
  return absl::StrFormat("%.1f/s", static_cast<double>(now - before) / seconds);
}

std::string GenerationOf(const v1::CatalogState& state, const std::string& expert) {
  for (const v1::Artifact& e : state.experts()) {
    if (e.name() == expert) return e.is_zero() ? "zero" : ShortGeneration(e.generation());
  }
  return "-";
}

std::string ExpertTable(const TopFrame& frame, const Figures& figures, const Style& style) {
  Table table({{"expert", Align::kLeft}, {"generation", Align::kLeft}, {"selections"}, {"load"}, {"weight"}});
  const double selections = std::accumulate(figures.tokens.begin(), figures.tokens.end(), 0.0);
  for (int e = 0; e < frame.now.experts_size(); ++e) {
    table.AddRow({OneLine(frame.now.experts(e), 40), GenerationOf(frame.state, frame.now.experts(e)),
                  absl::StrFormat("%.0f", figures.tokens[e]),
                  selections > 0 ? absl::StrFormat("%.1f %%", 100 * figures.tokens[e] / selections) : std::string("-"),
                  figures.rows > 0 ? absl::StrFormat("%.1f %%", 100 * figures.mean_share[e]) : std::string("-")});
  }
  return table.Render(style);
}

}  // namespace

std::string TopView(const TopFrame& frame, const Style& style, size_t columns) {
  const bool compare = frame.seconds > 0 && Comparable(frame.before, frame.now);
  const double seconds = compare ? frame.seconds : 0;
  const Figures figures = Difference(compare ? &frame.before : nullptr, frame.now);
  const v1::Utilisation& now = frame.now;
  std::string text = style.Bold("switchyard top") +
                     absl::StrFormat(" · revision %d · snapshot %s · %s\n", frame.state.revision(), ShortGeneration(now.snapshot()),
                                     seconds > 0 ? absl::StrFormat("last %.1f s", seconds) : std::string("since the start"));
  text += absl::StrFormat("tokens: prompt %s, generated %s, scored %s · tasks: %d running, %d queued · KV %d of %d blocks · entropy %s\n",
                          Rate(now.prompt_tokens(), frame.before.prompt_tokens(), seconds),
                          Rate(now.generated_tokens(), frame.before.generated_tokens(), seconds),
                          Rate(now.scored_tokens(), frame.before.scored_tokens(), seconds), now.running_tasks(), now.queued_tasks(),
                          now.kv_blocks_used(), now.kv_blocks_total(),
                          figures.has_entropy ? absl::StrFormat("%.3f nats", figures.entropy) : std::string("-"));
  std::string roles;
  for (const v1::CatalogState::Role& role : frame.state.roles()) {
    roles += absl::StrFormat("%s%s: %s", roles.empty() ? "" : " · ", RoleText(role.role(), role.share()), OneLine(role.router(), 30));
  }
  if (!roles.empty()) text += roles + "\n";
  text += "\n" + ExpertTable(frame, figures, style) + "\n";
  HeatGrid grid;
  for (const std::string& name : now.experts()) grid.columns.push_back(OneLine(name, 24));
  for (size_t l = 0; l < figures.weight.size(); ++l) grid.rows.push_back({std::to_string(l), figures.weight[l]});
  if (!grid.rows.empty() && !grid.columns.empty()) text += DrawHeatGrid(grid, style, columns);
  if (frame.operations.operations_size() > 0) text += "\n" + OperationsTable(frame.operations, style);
  return text;
}

}  // namespace switchyard::client
