// ScoreState: one Score task on the engine thread: each group's trunk once, then its branches side by side.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/runtime/kv_sequence.h"
#include "engine/runtime/score_layout.h"
#include "engine/runtime/task_state.h"

namespace switchyard {

// Used only on the engine thread. Groups go in order; a group's branches may share a step with the end of its trunk.
class ScoreState final : public TaskState {
 public:
  // REQUIRES: ValidateScore(task) is OK; `layout` is LayOutScore(task).
  static std::unique_ptr<ScoreState> Create(TaskTicket ticket, ScoreTask task, ScoreLayout layout, const KvGeometry& geometry,
                                            ScoreDone done);

  bool decoding() const override { return false; }
  StatusOr<int32_t> Plan(int32_t budget, StepPlan* plan) override;
  StatusOr<bool> Apply(const StepResult& result, SteadyTime now) override;
  void Complete(SteadyTime now) override;
  void Fail(const Status& status) override;

 private:
  struct Run {  // a trunk, or an item's own rows
    std::optional<KvSequence> sequence;
    RouteTrace trace;
  };
  struct Group {
    Run trunk;
    std::vector<Run> branches;
    size_t next_branch = 0;    // the first whose rows are not all planned
    size_t open_branches = 0;  // not yet computed
  };
  static constexpr int32_t kTrunk = -1;
  struct PlannedRun {
    size_t group;
    int32_t item;  // or kTrunk
    int32_t rows;
    int32_t segment;
  };
  struct PlannedAnswer {
    int32_t answer;  // index into StepResult::logprobs
    size_t group;
    size_t item;
    size_t place;  // index into ScoreItemResult::logprobs
  };

  ScoreState(TaskTicket ticket, std::unique_ptr<ScoreTask> task, ScoreLayout layout, const KvGeometry& geometry, ScoreDone done);

  void OpenSequences(KvLease* lease) override;
  void CloseSequences() override;
  int32_t WorstCaseBlocks(const KvCache& cache) const override;

  // Each adds rows of group `g` to the plan, at most up to `end` rows in all. PlanTrunk is true when the whole trunk is planned or
  // computed, PlanBranches when every branch is.
  StatusOr<bool> PlanTrunk(size_t g, int32_t end, StepPlan* plan);
  StatusOr<bool> PlanBranches(size_t g, int32_t end, StepPlan* plan);
  // Asks for what rows [begin, end) of an item's positions, which start at `first_row` of the step, have to answer.
  void Ask(size_t g, size_t item, int32_t begin, int32_t end, int32_t first_row, StepPlan* plan);

  Status ApplyRun(const PlannedRun& planned, const StepResult& result);
  Status ApplyAnswers(const StepResult& result);
  void CloseGroupIfDone(size_t g);

  const std::unique_ptr<ScoreTask> task_;
  const ScoreLayout layout_;
  const ScoreBlocks blocks_;
  const ScoreDone done_;
  KvLease* lease_ = nullptr;  // while running
  std::vector<Group> groups_;
  size_t first_open_group_ = 0;
  int32_t free_branch_blocks_ = 0;
  ScoreResult result_;

  // Of the step being planned.
  std::vector<PlannedRun> planned_runs_;
  std::vector<PlannedAnswer> planned_answers_;
};

}  // namespace switchyard
