#include "trainer/compare/observe.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace switchyard::trainer {
namespace {

constexpr size_t kStepRows = 512;

struct Sequence {
  const std::vector<TokenId>* tokens = nullptr;
  int32_t set = 0;
};

std::vector<Sequence> TakingTurns(const std::vector<QuestionSet>& sets) {
  std::vector<Sequence> sequences;
  size_t longest = 0;
  for (const QuestionSet& set : sets) longest = std::max(longest, set.questions.size());
  for (size_t q = 0; q < longest; ++q) {
    for (size_t s = 0; s < sets.size(); ++s) {
      if (q >= sets[s].questions.size()) continue;
      const Question& question = sets[s].questions[q];
      sequences.push_back({&question.text[static_cast<size_t>(question.answer)].tokens, static_cast<int32_t>(s)});
    }
  }
  return sequences;
}

// [rows][L][..] of the trace to the layers of the record.
void AddTrace(const RouteTrace& trace, int32_t experts, int64_t probability_tokens, RouteRecord* record) {
  const auto k = static_cast<size_t>(record->k), given = static_cast<size_t>(trace.k), n = static_cast<size_t>(experts);
  for (int32_t row = 0; row < trace.rows; ++row) {
    for (size_t l = 0; l < record->layers.size(); ++l) {
      LayerRecord& layer = record->layers[l];
      const size_t at = static_cast<size_t>(row) * record->layers.size() + l;
      for (size_t slot = 0; slot < k; ++slot) {
        layer.experts.push_back(slot < given ? trace.experts[at * given + slot] : LayerTrace::kUnused);
        layer.weights.push_back(slot < given ? trace.weights[at * given + slot] : 0);
      }
      layer.entropy.push_back(trace.entropy[at]);
      if (trace.probabilities.empty() || static_cast<int64_t>(layer.probabilities.size()) >= probability_tokens * experts) continue;
      layer.probabilities.insert(layer.probabilities.end(), trace.probabilities.begin() + static_cast<std::ptrdiff_t>(at * n),
                                 trace.probabilities.begin() + static_cast<std::ptrdiff_t>((at + 1) * n));
    }
  }
}

}  // namespace

StatusOr<RouteRecord> ObserveRoutes(ModelRunner& runner, const Contestant& contestant, const std::vector<QuestionSet>& sets,
                                    int64_t probability_tokens) {
  const SnapshotInfo& info = contestant.snapshot->info();
  RouteRecord record;
  record.num_experts = static_cast<int32_t>(info.experts.size());
  record.k = std::max(1, contestant.top_k);
  record.zero_expert = contestant.zero_expert();
  record.num_tasks = static_cast<int32_t>(sets.size());
  record.layers.resize(static_cast<size_t>(info.num_layers));
  const int64_t room = int64_t{runner.kv().num_blocks} * runner.kv().block_tokens;
  std::vector<int32_t> slots(static_cast<size_t>(room));
  std::iota(slots.begin(), slots.end(), 0);

  const std::vector<Sequence> sequences = TakingTurns(sets);
  for (size_t next = 0; next < sequences.size();) {
    Step step;
    step.snapshot = contestant.snapshot;
    std::vector<size_t> in_step;
    for (; next < sequences.size(); ++next) {
      const std::vector<TokenId>& tokens = *sequences[next].tokens;
      const size_t begin = step.tokens.size(), end = begin + tokens.size();
      if (static_cast<int64_t>(end) > room && begin == 0)
        return ResourceExhausted("a question of %d tokens does not fit the KV pool of %d", end, room);
      if (begin > 0 && (end > kStepRows || static_cast<int64_t>(end) > room)) break;
      step.tokens.insert(step.tokens.end(), tokens.begin(), tokens.end());
      step.segments.push_back({.begin = static_cast<int32_t>(begin),
                               .end = static_cast<int32_t>(end),
                               .slots = std::span(slots).subspan(begin, tokens.size()),
                               .policy = &contestant.policies[static_cast<size_t>(sequences[next].set)],
                               .record_routes = true,
                               .record_probabilities = record.rows() + static_cast<int64_t>(begin) < probability_tokens});
      in_step.push_back(next);
    }
    ASSIGN_OR_RETURN(const StepResult result, runner.Run(step));
    for (size_t i = 0; i < in_step.size(); ++i) {
      const Sequence& sequence = sequences[in_step[i]];
      record.tokens.insert(record.tokens.end(), sequence.tokens->begin(), sequence.tokens->end());
      record.sequences.resize(record.tokens.size(), static_cast<int32_t>(in_step[i]));
      record.tasks.resize(record.tokens.size(), sequence.set);
      AddTrace(result.routes[i], record.num_experts, probability_tokens, &record);
    }
  }
  return record;
}

}  // namespace switchyard::trainer
