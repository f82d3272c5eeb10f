#include "engine/runtime/score_state.h"

#include <algorithm>
#include <cmath>

#include "engine/runtime/route_fold.h"

namespace switchyard {

std::unique_ptr<ScoreState> ScoreState::Create(TaskTicket ticket, ScoreTask task, ScoreLayout layout, const KvGeometry& geometry,
                                               ScoreDone done) {
  return std::unique_ptr<ScoreState>(
      new ScoreState(std::move(ticket), std::make_unique<ScoreTask>(std::move(task)), std::move(layout), geometry, std::move(done)));
}

ScoreState::ScoreState(TaskTicket ticket, std::unique_ptr<ScoreTask> task, ScoreLayout layout, const KvGeometry& geometry, ScoreDone done)
    : TaskState(std::move(ticket), *task, task->use_prefix_cache),
      task_(std::move(task)),
      layout_(std::move(layout)),
      blocks_(BlocksOfScore(layout_, geometry)),
      done_(std::move(done)) {
  usage_.prompt_tokens = layout_.prompt_tokens;
  result_.snapshot = ticket_.snapshot;
  for (const auto& items : task_->groups) {
    auto& results = result_.groups.emplace_back(items.size());
    for (size_t i = 0; i < items.size(); ++i) results[i].logprobs.resize(items[i].tokens.size() - items[i].score_from);
  }
}

int32_t ScoreState::WorstCaseBlocks(const KvCache&) const { return static_cast<int32_t>(blocks_.total()); }

void ScoreState::OpenSequences(KvLease* lease) {
  lease_ = lease;
  groups_ = std::vector<Group>(task_->groups.size());
  free_branch_blocks_ = static_cast<int32_t>(blocks_.branch_pool);
  usage_.cached_tokens = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const ScoreGroupLayout& layout = layout_.groups[g];
    groups_[g].branches = std::vector<Run>(layout.branch_rows.size());
    groups_[g].open_branches = std::count_if(layout.branch_rows.begin(), layout.branch_rows.end(), [](int32_t rows) { return rows > 0; });
    groups_[g].trunk.sequence.emplace(
        lease,
        KvSequence::Options{.key = publish_key(), .lookup_tokens = LookupLimit(std::min(layout.trunk_rows, layout.first_asked_row))});
    usage_.cached_tokens += groups_[g].trunk.sequence->TakeCached(task_->groups[g].front().tokens);
  }
}

void ScoreState::CloseSequences() {
  for (Group& group : groups_) {
    for (Run& branch : group.branches) branch.sequence.reset();
    group.trunk.sequence.reset();
  }
}

StatusOr<int32_t> ScoreState::Plan(int32_t budget, StepPlan* plan) {
  planned_runs_.clear();
  planned_answers_.clear();
  const int32_t begin = plan->rows();
  for (size_t g = first_open_group_; g < groups_.size() && plan->rows() < begin + budget; ++g) {
    ASSIGN_OR_RETURN(const bool trunk_planned, PlanTrunk(g, begin + budget, plan));
    if (!trunk_planned) break;
    ASSIGN_OR_RETURN(const bool branches_planned, PlanBranches(g, begin + budget, plan));
    if (!branches_planned) break;
  }
  return plan->rows() - begin;
}

StatusOr<bool> ScoreState::PlanTrunk(size_t g, int32_t end, StepPlan* plan) {
  const int32_t trunk_rows = layout_.groups[g].trunk_rows;
  KvSequence& sequence = *groups_[g].trunk.sequence;
  const std::vector<TokenId>& tokens = task_->groups[g].front().tokens;
  if (sequence.length() < trunk_rows) usage_.cached_tokens += sequence.TakeCached(tokens);
  const int32_t from = sequence.length();
  const int32_t first_row = plan->rows();
  const int32_t rows = std::min(trunk_rows - from, end - first_row);
  if (rows > 0) {
    RETURN_IF_ERROR(sequence.Prepare(rows));
    const int32_t segment =
        plan->AddSegment(std::span(tokens).subspan(from, rows), sequence.slots(from + rows), task_->policy, task_->record_routes);
    planned_runs_.push_back({.group = g, .item = kTrunk, .rows = rows, .segment = segment});
    for (size_t item = 0; item < task_->groups[g].size(); ++item) Ask(g, item, from, from + rows, first_row, plan);
  }
  return from + rows == trunk_rows;
}

StatusOr<bool> ScoreState::PlanBranches(size_t g, int32_t end, StepPlan* plan) {
  Group& group = groups_[g];
  const int32_t trunk_rows = layout_.groups[g].trunk_rows;
  for (; group.next_branch < group.branches.size(); ++group.next_branch) {
    const size_t item = group.next_branch;
    const int32_t branch_rows = layout_.groups[g].branch_rows[item];
    if (branch_rows == 0) continue;
    const int32_t first_row = plan->rows();
    if (first_row == end) return false;
    std::optional<KvSequence>& sequence = group.branches[item].sequence;
    if (!sequence) {
      const int32_t blocks = lease_->cache()->BlocksFor(branch_rows);
      if (blocks > free_branch_blocks_) return false;
      free_branch_blocks_ -= blocks;
      sequence.emplace(lease_, KvSequence::Options{});
    }
    const int32_t from = sequence->length();
    const int32_t rows = std::min(branch_rows - from, end - first_row);
    RETURN_IF_ERROR(sequence->Prepare(rows));
    const auto tokens = std::span(std::as_const(task_->groups[g][item].tokens)).subspan(trunk_rows + from, rows);
    const int32_t segment =
        plan->AddBranch(tokens, group.trunk.sequence->slots(trunk_rows), sequence->slots(from + rows), task_->policy, task_->record_routes);
    planned_runs_.push_back({.group = g, .item = static_cast<int32_t>(item), .rows = rows, .segment = segment});
    Ask(g, item, trunk_rows + from, trunk_rows + from + rows, first_row, plan);
    if (from + rows < branch_rows) return false;
  }
  return true;
}

void ScoreState::Ask(size_t g, size_t item, int32_t begin, int32_t end, int32_t first_row, StepPlan* plan) {
  const ScoreItem& asked = task_->groups[g][item];
  const int32_t last = std::min(end, static_cast<int32_t>(asked.tokens.size()) - 1);
  for (int32_t row = std::max(begin, asked.score_from - 1); row < last; ++row) {
    const int32_t answer = plan->AddLogProb(first_row + row - begin, asked.tokens[row + 1]);
    planned_answers_.push_back({.answer = answer, .group = g, .item = item, .place = static_cast<size_t>(row + 1 - asked.score_from)});
  }
}

StatusOr<bool> ScoreState::Apply(const StepResult& result, SteadyTime now) {
  RETURN_IF_ERROR(ApplyAnswers(result));
  for (const PlannedRun& planned : planned_runs_) RETURN_IF_ERROR(ApplyRun(planned, result));
  for (const PlannedRun& planned : planned_runs_) CloseGroupIfDone(planned.group);
  while (first_open_group_ < groups_.size() && !groups_[first_open_group_].trunk.sequence) ++first_open_group_;
  if (!planned_answers_.empty()) MarkFirstResult(now);
  return first_open_group_ == groups_.size();
}

Status ScoreState::ApplyRun(const PlannedRun& planned, const StepResult& result) {
  Group& group = groups_[planned.group];
  const bool is_trunk = planned.item == kTrunk;
  Run& run = is_trunk ? group.trunk : group.branches[planned.item];
  run.sequence->Commit(task_->groups[planned.group][is_trunk ? 0 : planned.item].tokens, planned.rows);
  usage_.computed_tokens += planned.rows;
  if (task_->record_routes) RETURN_IF_ERROR(AppendTrace(result.routes[planned.segment], &run.trace));
  if (is_trunk) return OkStatus();
  const int32_t branch_rows = layout_.groups[planned.group].branch_rows[planned.item];
  if (run.sequence->length() == branch_rows) {
    run.sequence->Release(/*keep_promise=*/true);
    run.sequence.reset();
    free_branch_blocks_ += lease_->cache()->BlocksFor(branch_rows);
    --group.open_branches;
  }
  return OkStatus();
}

Status ScoreState::ApplyAnswers(const StepResult& result) {
  for (const PlannedAnswer& planned : planned_answers_) {
    const StepResult::LogProb& answer = result.logprobs[planned.answer];
    if (std::isnan(answer.logprob)) {
      return Internal("the model's log-probability of token %d of item %d in group %d is not a number", planned.place, planned.item,
                      planned.group);
    }
    ScoreItemResult& item = result_.groups[planned.group][planned.item];
    item.logprobs[planned.place] = answer.logprob;
    item.is_greedy = item.is_greedy && answer.is_argmax;
  }
  scored_tokens_ += planned_answers_.size();
  return OkStatus();
}

// A finished group's context is no longer needed by this task; the tree keeps it for the next one.
void ScoreState::CloseGroupIfDone(size_t g) {
  Group& group = groups_[g];
  if (!group.trunk.sequence || group.open_branches > 0 || group.trunk.sequence->length() < layout_.groups[g].trunk_rows) return;
  group.trunk.sequence.reset();
}

void ScoreState::Complete(SteadyTime now) {
  MarkEnd(now);
  result_.usage = usage_;
  if (task_->record_routes) {
    for (Group& group : groups_) {
      Status status = AppendTrace(group.trunk.trace, &result_.routes.trace);
      for (const Run& branch : group.branches) {
        if (status.ok()) status = AppendTrace(branch.trace, &result_.routes.trace);
      }
      if (!status.ok()) return Fail(status);
    }
    result_.routes.counts = CountTrace(result_.routes.trace, ticket_.snapshot->info());
  }
  done_(std::move(result_));
}

void ScoreState::Fail(const Status& status) { done_(status); }

}  // namespace switchyard
