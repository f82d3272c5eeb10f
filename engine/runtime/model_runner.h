// The boundary between the torch-free runtime (scheduler, KV accounting, prefix tree) and whatever computes a forward step.
//
// One implementation uses LibTorch (engine/runner); tests use a fake. Letters: T tokens of a step, L layers, E experts (zero included),
// k slots a token, V vocabulary.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

using TokenId = int32_t;
using ExpertIndex = int16_t;                  // position in SnapshotInfo::experts
inline constexpr ExpertIndex kNoExpert = -1;  // an unused slot: its weight stays with the base block

// What one snapshot is, for replies, validation and cache keys. Immutable.
struct SnapshotInfo {
  std::string base_name;          // for people
  std::string base_generation;    // content hash, hex
  std::string router_name;        // "" when the snapshot has no router
  std::string router_kind;        // "dense2moe_mlp", "linear", ""
  std::string router_generation;  // content hash, hex; "" without router
  int64_t router_bytes = 0;       // resident bytes
  std::string generation;         // hash of base + ordered experts + router + policy: the cache key
  struct Expert {
    std::string name;
    std::string generation;  // content hash, hex; "zero" for the zero expert
    bool is_zero = false;
    int max_rank = 0;   // 0 for the zero expert
    int64_t bytes = 0;  // resident bytes
  };
  std::vector<Expert> experts;  // the order routers were trained with; the zero expert is one of them, or absent
  // Learned routing chooses among the first so many of `experts`; the others its router does not name. 0 without router.
  int learned_experts = 0;
  std::vector<float> trained_load;  // [num_layers * learned_experts] load shares over the training data; empty when the router has none
  int num_layers = 0;
  int top_k = 0;  // slots of the learned router; 0 without router
  int hidden_size = 0;
  int vocab_size = 0;     // rows of the vocabulary projection
  int max_positions = 0;  // longest sequence, prompt and answer together, tokens
  std::optional<TokenId> bos_token;
  std::vector<TokenId> eos_tokens;  // any of these ends a generation
};

// How the tokens of one request choose experts.
struct RoutingPolicy {
  enum class Mode {
    kLearned,   // the snapshot's router (INVALID_ARGUMENT at submission when it has none)
    kBaseOnly,  // no expert in any layer: bit-identical to the base model
    kForced,    // one expert, weight 1, every layer
    kMixture,   // fixed weights, every layer; weight on zero and missing mass go to the base
    kReplay,    // recorded routes
  };
  Mode mode = Mode::kLearned;
  ExpertIndex forced = kNoExpert;
  std::vector<float> mixture{};  // [E]; entries >= 0, sum <= 1 + 1e-6
  std::vector<bool> masked{};    // [E] or empty: logits of these become -inf before the softmax (kLearned)
  // kReplay: routes of positions 0..P-1, [P][L][k]; positions past P are refused at submission.
  int replay_k = 0;
  std::vector<ExpertIndex> replay_experts{};  // [P * L * k]
  std::vector<float> replay_weights{};        // [P * L * k]
  // Text that differs whenever two policies may route differently; part of the prefix tree's key. Replay is never cached.
  std::string CacheKey() const;
};

// A run of new tokens of one sequence. Rows [begin, end) of the step belong to it. `slots` holds the KV slot of every position the run
// sees, 0 .. P-1, its own new tokens last; so row `begin + i` has position P - (end - begin) + i and attends to slots[0 .. that position].
// Branches of one question list the context's slots first and their own after: that is the tree mask, and the context is computed once,
// also when context and branches are rows of the same step (a layer writes all keys and values before any row attends).
struct Segment {
  int32_t begin = 0;
  int32_t end = 0;
  std::span<const int32_t> slots;         // borrowed for the call
  const RoutingPolicy* policy = nullptr;  // borrowed for the call, never null
  bool record_routes = false;             // fill StepResult::routes for these rows
  bool record_probabilities = false;      // with record_routes and learned routing: RouteTrace::probabilities too; for measuring tools
};

// The log-probability of `target` after row `row`.
struct LogProbQuery {
  int32_t row = 0;
  TokenId target = 0;
};

// A row whose full logits are wanted (sampling).
struct LogitsQuery {
  int32_t row = 0;
};

// A row whose `count` most likely tokens are wanted.
struct TopLogProbsQuery {
  int32_t row = 0;
  int32_t count = 0;
};

class Snapshot {
 public:
  virtual ~Snapshot() = default;
  virtual const SnapshotInfo& info() const = 0;
};

// One step over T rows: tokens of many requests end to end. All segments run on the same snapshot.
struct Step {
  std::shared_ptr<const Snapshot> snapshot;
  std::vector<TokenId> tokens;    // [T]
  std::vector<Segment> segments;  // in row order, disjoint, covering [0, T)
  std::vector<LogitsQuery> logits;
  std::vector<LogProbQuery> logprobs;
  std::vector<TopLogProbsQuery> top_logprobs;
};

struct TokenLogProb {
  TokenId token = 0;
  float logprob = 0;  // natural log, over the whole vocabulary, temperature 1
};

// Routes of the rows of one segment, [rows][L][k], slot order = descending selection score.
struct RouteTrace {
  int32_t rows = 0;
  int32_t layers = 0;
  int32_t k = 0;
  std::vector<ExpertIndex> experts;  // kNoExpert for an unused slot
  std::vector<float> weights;
  std::vector<float> margin;         // [rows][L] selection score of the last chosen minus the first refused; +inf when none is refused
  std::vector<float> entropy;        // [rows][L] nats over all experts after masking; NaN where the policy has no distribution
  std::vector<float> probabilities;  // [rows][L][E] softmax over the routable experts; empty unless the segment asked for it
};

// Sums over all rows of the step, for metrics. Index layer * E + expert.
struct RouteCounts {
  std::vector<uint64_t> tokens{};        // [L * E] rows whose selected set holds the expert
  std::vector<double> weight{};          // [L * E] their weights
  std::vector<double> entropy_sum{};     // [L] nats, over rows with a distribution
  std::vector<uint64_t> entropy_rows{};  // [L]
  std::vector<double> base_mass{};       // [L] sum over rows of 1 - (weight on experts other than zero)
  std::vector<uint64_t> rows{};          // [L]
  // Over rows with a distribution alone, that is what the snapshot's router decided.
  std::vector<uint64_t> learned_tokens{};  // [L * E]
  std::vector<double> learned_weight{};    // [L * E]
  // [L] rows that follow another token of their sequence, unless both went to no expert; of these, rows whose best expert is another one.
  std::vector<uint64_t> pairs, flips;
};

// One segment that could not be computed while the others of the step were.
struct SegmentFailure {
  int32_t segment = 0;
  Status status;
};

struct StepResult {
  std::vector<std::vector<float>> logits;  // one [V] per LogitsQuery
  std::vector<float> log_sum_exps;  // beside each: logits[i][t] - log_sum_exps[i] is the log-probability of t, as in the answers below
  struct LogProb {
    float logprob = 0;
    bool is_argmax = false;  // target is the most likely token (lowest id on ties)
  };
  std::vector<LogProb> logprobs;                        // one per LogProbQuery
  std::vector<std::vector<TokenLogProb>> top_logprobs;  // one per TopLogProbsQuery, most likely first
  std::vector<RouteTrace> routes;                       // one per segment; empty where record_routes is false
  std::vector<SegmentFailure> failures;                 // each segment at most once; its answers mean nothing
  RouteCounts counts;
  double routing_seconds = 0;  // part of the call spent in choosing experts: router, selection, counting
};

struct KvGeometry {
  int32_t block_tokens = 16;  // slots of one block; block b holds slots [b * block_tokens, (b + 1) * block_tokens)
  int32_t num_blocks = 0;
  int64_t bytes_per_token = 0;  // keys and values of all layers
};

// Used only on the engine thread, but for snapshot() and kv(), which are thread-safe.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  // What it was loaded with: where an engine begins. Steps may name any snapshot built over the same base.
  virtual std::shared_ptr<const Snapshot> snapshot() const = 0;
  virtual KvGeometry kv() const = 0;
  // Computes one step: writes keys and values of the new rows into their slots, then answers the queries.
  // A segment in which a value is not finite fails alone (StepResult::failures, INTERNAL naming layer and position); no bit of the others
  // changes. INTERNAL for the whole step when it breaks a rule above. The KV pool stays usable.
  virtual StatusOr<StepResult> Run(const Step& step) = 0;
};

}  // namespace switchyard
