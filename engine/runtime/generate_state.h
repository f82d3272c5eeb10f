// GenerateState: one generation on the engine thread: prefill in chunks, then one row a step.
#pragma once

#include <memory>
#include <optional>
#include <unordered_set>
#include <vector>

#include "engine/runtime/kv_sequence.h"
#include "engine/runtime/sampler.h"
#include "engine/runtime/task_state.h"

namespace switchyard {

// Used only on the engine thread.
class GenerateState final : public TaskState {
 public:
  // REQUIRES: ValidateGenerate(task) is OK. `sink` is shared with the caller.
  static std::unique_ptr<GenerateState> Create(TaskTicket ticket, GenerateTask task, std::shared_ptr<GenerateSink> sink);

  bool decoding() const override;
  StatusOr<int32_t> Plan(int32_t budget, StepPlan* plan) override;
  StatusOr<bool> Apply(const StepResult& result, SteadyTime now) override;
  void Complete(SteadyTime now) override;
  void Fail(const Status& status) override;

 private:
  GenerateState(TaskTicket ticket, std::unique_ptr<GenerateTask> task, std::shared_ptr<GenerateSink> sink);

  void OpenSequences(KvLease* lease) override;
  void CloseSequences() override { sequence_.reset(); }
  int32_t WorstCaseBlocks(const KvCache& cache) const override;

  // Decides the next token from the answers. True when it was the last one.
  StatusOr<bool> TakeToken(const StepResult& result, SteadyTime now);
  bool IsStop(TokenId token) const;

  const std::unique_ptr<GenerateTask> task_;
  const std::shared_ptr<GenerateSink> sink_;
  const std::unordered_set<TokenId> stop_tokens_;  // the model's own included
  Sampler sampler_;
  std::vector<TokenId> tokens_;  // prompt, then generated
  std::optional<KvSequence> sequence_;
  GenerateResult result_;

  // Of the step being planned.
  int32_t planned_rows_ = 0;
  int32_t segment_ = -1;
  int32_t logits_ = -1;  // -1: the prompt is not finished by this step
  int32_t top_logprobs_ = -1;
};

}  // namespace switchyard
