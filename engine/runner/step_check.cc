#include "engine/runner/step_check.h"

#include <algorithm>
#include <cmath>

namespace switchyard {

namespace {

Status CheckMixture(const RoutingPolicy& policy, size_t experts) {
  if (policy.mixture.size() != experts) return Internal("mixture of %d weights for %d experts", policy.mixture.size(), experts);
  double sum = 0;
  for (const float weight : policy.mixture) {
    if (!(weight >= 0) || !std::isfinite(weight)) return Internal("mixture weight %g", weight);
    sum += weight;
  }
  return sum <= 1 + 1e-6 ? OkStatus() : Internal("mixture weights sum to %g", sum);
}

// Recorded routes of the segment's rows, positions [first, last).
Status CheckReplay(const RoutingPolicy& policy, const SnapshotInfo& info, size_t first, size_t last) {
  const size_t stride = static_cast<size_t>(info.num_layers) * static_cast<size_t>(std::max(policy.replay_k, 0));
  if (policy.replay_k <= 0 || policy.replay_experts.size() != policy.replay_weights.size())
    return Internal("recorded routes are malformed");
  if (last * stride > policy.replay_experts.size()) return Internal("recorded routes end before position %d", last);
  for (size_t i = first * stride; i < last * stride; ++i) {
    const ExpertIndex expert = policy.replay_experts[i];
    if (expert < kNoExpert || expert >= static_cast<ExpertIndex>(info.experts.size())) return Internal("recorded expert %d", expert);
    if (!(policy.replay_weights[i] >= 0 && policy.replay_weights[i] <= 1 + 1e-6))
      return Internal("recorded weight %g", policy.replay_weights[i]);
  }
  return OkStatus();
}

Status CheckPolicy(const Segment& segment, const SnapshotInfo& info, bool has_router) {
  if (segment.policy == nullptr) return Internal("no routing policy");
  const RoutingPolicy& policy = *segment.policy;
  switch (policy.mode) {
    case RoutingPolicy::Mode::kLearned:
      if (!has_router) return Internal("learned routing on a snapshot without router");
      if (!policy.masked.empty() && policy.masked.size() != info.experts.size()) {
        return Internal("mask of %d entries for %d experts", policy.masked.size(), info.experts.size());
      }
      return OkStatus();
    case RoutingPolicy::Mode::kBaseOnly:
      return OkStatus();
    case RoutingPolicy::Mode::kForced:
      if (policy.forced >= 0 && policy.forced < static_cast<ExpertIndex>(info.experts.size())) return OkStatus();
      return Internal("forced expert %d of %d", policy.forced, info.experts.size());
    case RoutingPolicy::Mode::kMixture:
      return CheckMixture(policy, info.experts.size());
    case RoutingPolicy::Mode::kReplay:
      return CheckReplay(policy, info, segment.slots.size() - static_cast<size_t>(segment.end - segment.begin), segment.slots.size());
  }
  return Internal("unknown routing mode %d", static_cast<int>(policy.mode));
}

template <typename Query>
Status CheckRows(const std::vector<Query>& queries, size_t rows, std::string_view what) {
  for (size_t i = 0; i < queries.size(); ++i) {
    if (queries[i].row < 0 || static_cast<size_t>(queries[i].row) >= rows) {
      return Internal("%s query %d asks for row %d of %d", what, i, queries[i].row, rows);
    }
  }
  return OkStatus();
}

bool InVocabulary(TokenId token, const SnapshotInfo& info) { return token >= 0 && token < info.vocab_size; }

}  // namespace

Status StepCheck::CheckSlots(const Segment& segment, size_t index) {
  for (size_t i = 0; i < segment.slots.size(); ++i) {
    const int32_t slot = segment.slots[i];
    if (slot < 0 || static_cast<size_t>(slot) >= written_.size()) {
      return Internal("segment %d: position %d is in KV slot %d of %d", index, i, slot, written_.size());
    }
  }
  for (const int32_t slot : segment.slots.last(static_cast<size_t>(segment.end - segment.begin))) {
    if (written_[slot] == step_number_) return Internal("segment %d: KV slot %d is written by two rows", index, slot);
    written_[slot] = step_number_;
  }
  return OkStatus();
}

Status StepCheck::CheckSegments(const Step& step, const SnapshotInfo& info, bool has_router) {
  int32_t next = 0;
  for (size_t i = 0; i < step.segments.size(); ++i) {
    const Segment& segment = step.segments[i];
    if (segment.begin != next || segment.end <= segment.begin || static_cast<size_t>(segment.end) > step.tokens.size()) {
      return Internal("segment %d: rows [%d, %d), expected to begin at %d and to end within %d", i, segment.begin, segment.end, next,
                      step.tokens.size());
    }
    next = segment.end;
    const size_t rows = static_cast<size_t>(segment.end - segment.begin);
    if (segment.slots.size() < rows) return Internal("segment %d: %d rows but %d KV slots", i, rows, segment.slots.size());
    if (static_cast<int64_t>(segment.slots.size()) > max_positions_) {
      return Internal("segment %d: %d positions, the model has %d", i, segment.slots.size(), max_positions_);
    }
    RETURN_IF_ERROR(CheckSlots(segment, i));
    RETURN_IF_ERROR(Annotate(CheckPolicy(segment, info, has_router), absl::StrFormat("segment %d", i)));
  }
  if (static_cast<size_t>(next) != step.tokens.size()) return Internal("segments cover %d of %d rows", next, step.tokens.size());
  return OkStatus();
}

Status StepCheck::Check(const Step& step, const SnapshotInfo& info, bool has_router) {
  ++step_number_;
  if (step.tokens.empty()) return Internal("a step without rows");
  for (size_t row = 0; row < step.tokens.size(); ++row) {
    if (!InVocabulary(step.tokens[row], info))
      return Internal("row %d: token %d of a vocabulary of %d", row, step.tokens[row], info.vocab_size);
  }
  RETURN_IF_ERROR(CheckSegments(step, info, has_router));
  RETURN_IF_ERROR(CheckRows(step.logits, step.tokens.size(), "logits"));
  RETURN_IF_ERROR(CheckRows(step.logprobs, step.tokens.size(), "log-probability"));
  RETURN_IF_ERROR(CheckRows(step.top_logprobs, step.tokens.size(), "top log-probabilities"));
  for (const LogProbQuery& query : step.logprobs) {
    if (!InVocabulary(query.target, info))
      return Internal("log-probability of token %d of a vocabulary of %d", query.target, info.vocab_size);
  }
  for (const TopLogProbsQuery& query : step.top_logprobs) {
    if (query.count < 0) return Internal("%d most likely tokens asked for", query.count);
  }
  return OkStatus();
}

}  // namespace switchyard
