#include "trainer/run/hash_tables.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "trainer/data/seeded_order.h"

namespace switchyard::trainer {

namespace {

// Most frequent first.
std::vector<int64_t> ByFrequency(std::vector<int64_t> ids, std::span<const int64_t> counts) {
  std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) { return counts[a] > counts[b]; });
  return ids;
}

std::vector<int32_t> Balanced(const std::vector<int64_t>& ids, std::span<const int64_t> counts, const std::vector<int64_t>& experts) {
  std::vector<int32_t> table(counts.size());
  std::vector<std::pair<int64_t, int64_t>> load(experts.size());  // tokens, then ids
  for (const int64_t id : ids) {
    const auto least = static_cast<size_t>(std::min_element(load.begin(), load.end()) - load.begin());
    table[id] = static_cast<int32_t>(experts[least]);
    load[least].first += counts[id];
    ++load[least].second;
  }
  return table;
}

// An id goes where the middle of its tokens lies.
std::vector<int32_t> Bands(const std::vector<int64_t>& ids, std::span<const int64_t> counts, int64_t total, int32_t experts) {
  std::vector<int32_t> table(counts.size());
  int64_t before = 0;
  for (const int64_t id : ids) {
    const double middle = (static_cast<double>(before) + static_cast<double>(counts[id]) / 2) / static_cast<double>(total);
    table[id] = std::min(experts - 1, static_cast<int32_t>(middle * experts));
    before += counts[id];
  }
  return table;
}

std::vector<float> SharesOf(const std::vector<int32_t>& table, std::span<const int64_t> counts, int64_t total, size_t experts) {
  std::vector<double> load(experts);
  for (size_t id = 0; id < table.size(); ++id) load[table[id]] += static_cast<double>(counts[id]);
  std::vector<float> shares;
  for (const double tokens : load) shares.push_back(static_cast<float>(tokens / static_cast<double>(total)));
  return shares;
}

}  // namespace

StatusOr<std::vector<int64_t>> CountTokens(const Dataset& data, int32_t vocabulary) {
  std::vector<int64_t> counts(static_cast<size_t>(vocabulary));
  for (const Example& example : data.examples) {
    for (const int32_t token : example.tokens) {
      if (token < 0 || token >= vocabulary) return OutOfRange("token id %d, the base has %d", token, vocabulary);
      ++counts[token];
    }
  }
  return counts;
}

StatusOr<std::vector<int32_t>> MakeHashTable(const HashOptions& options, std::span<const int64_t> counts, int32_t experts, int32_t layer) {
  const std::string stream = absl::StrFormat("hash layer %d", layer);
  const auto size = static_cast<int64_t>(counts.size());
  if (options.table == "random") {
    std::vector<int32_t> table(counts.size());
    const std::vector<int64_t> order = SeededOrder(size, options.seed, stream);
    for (int64_t i = 0; i < size; ++i) table[order[i]] = static_cast<int32_t>(i % experts);
    return table;
  }
  const bool balanced = options.table == "balanced";
  if (!balanced && options.table != "frequency")
    return InvalidArgument("--table: expected balanced, frequency or random, found %s", options.table);
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  if (total == 0) return InvalidArgument("--table %s counts the tokens of --data, which has none", options.table);
  if (balanced) {
    return Balanced(ByFrequency(SeededOrder(size, options.seed, stream), counts), counts,
                    SeededOrder(experts, options.seed, stream + " experts"));
  }
  std::vector<int64_t> ids(counts.size());
  std::iota(ids.begin(), ids.end(), 0);
  return Bands(ByFrequency(std::move(ids), counts), counts, total, experts);
}

StatusOr<RouterAssembly> MakeHashRouter(const HashOptions& options, const BaseWeights& base, const std::vector<LoraExpert>& experts,
                                        const Dataset& data) {
  if (experts.empty()) return InvalidArgument("a hash router needs at least one expert");
  ASSIGN_OR_RETURN(const std::vector<int64_t> counts, CountTokens(data, base.config.vocab_size));
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  RouterManifest manifest;
  manifest.name = options.name;
  manifest.kind = "hash";
  manifest.top_k = 1;
  manifest.weight_mode = "one";
  manifest.base_generation = base.generation;
  manifest.num_layers = base.config.num_layers;
  manifest.hidden_size = base.config.hidden_size;
  for (const LoraExpert& expert : experts) manifest.experts.push_back({expert.name, expert.generation, expert.is_zero});
  RouterAssembly router(std::move(manifest));
  for (int32_t l = 0; l < base.config.num_layers; ++l) {
    ASSIGN_OR_RETURN(const std::vector<int32_t> table, MakeHashTable(options, counts, static_cast<int32_t>(experts.size()), l));
    router.Set(l, "table", at::tensor(table, at::kInt));
    if (total > 0) router.manifest().load_shares.push_back(SharesOf(table, counts, total, experts.size()));
  }
  return router;
}

}  // namespace switchyard::trainer
