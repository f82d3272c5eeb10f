#include "trainer/run/training_run.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "engine/stats/load.h"
#include "engine/stats/over_layers.h"
#include "trainer/data/batch_sampler.h"
#include "trainer/run/checkpoint.h"

namespace switchyard::trainer {

namespace {

using Clock = std::chrono::steady_clock;
double Since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// A step's examples in passes of at most `tokens` tokens each, at least one example a pass.
std::vector<std::vector<int64_t>> Passes(const Dataset& data, const std::vector<int64_t>& examples, int64_t tokens) {
  std::vector<std::vector<int64_t>> passes;
  int64_t used = 0;
  for (const int64_t example : examples) {
    const auto size = static_cast<int64_t>(data.examples[example].tokens.size());
    if (passes.empty() || used + size > tokens) {
      passes.emplace_back();
      used = 0;
    }
    passes.back().push_back(example);
    used += size;
  }
  return passes;
}

// Every size-th, from rank on.
std::vector<int64_t> Share(const std::vector<int64_t>& examples, const Communicator& world) {
  std::vector<int64_t> mine;
  for (size_t i = static_cast<size_t>(world.rank()); i < examples.size(); i += static_cast<size_t>(world.size()))
    mine.push_back(examples[i]);
  return mine;
}

RoutePlan PlanOf(const RunTask& task, const PackedBatch& batch) {
  RoutePlan plan;
  plan.router = task.router;
  for (const PackedBatch::Segment& segment : batch.segments) {
    if (!task.expert_of_domain.empty()) plan.targets.labels.resize(static_cast<size_t>(segment.end), task.expert_of_domain[segment.domain]);
  }
  if (task.router == nullptr) plan.forced.assign(batch.tokens.size(), task.forced);
  return plan;
}

void SumResult(Communicator& world, PassResult* result) {
  if (world.size() == 1) return;
  std::vector<double> flat = {result->loss, static_cast<double>(result->targets), static_cast<double>(result->correct), result->router_loss,
                              static_cast<double>(result->rows)};
  flat.insert(flat.end(), result->parts.begin(), result->parts.end());
  for (const std::vector<double>* values : {&result->expert_rows, &result->expert_weight, &result->entropy}) {
    flat.insert(flat.end(), values->begin(), values->end());
  }
  world.SumDoubles(flat);
  result->loss = flat[0];
  result->targets = static_cast<int64_t>(flat[1]);
  result->correct = static_cast<int64_t>(flat[2]);
  result->router_loss = flat[3];
  result->rows = static_cast<int64_t>(flat[4]);
  auto next = flat.begin() + 5;
  std::copy_n(next, kNumLossParts, result->parts.begin());
  next += kNumLossParts;
  for (std::vector<double>* values : {&result->expert_rows, &result->expert_weight, &result->entropy}) {
    std::copy_n(next, values->size(), values->begin());
    next += static_cast<int64_t>(values->size());
  }
}

class Run {
 public:
  Run(RunTask& task, const Dataset& train, const Dataset* validation, const RunOptions& options, Communicator& world, RunLog* log)
      : task_(task),
        train_(train),
        validation_(validation),
        options_(options),
        world_(world),
        log_(log),
        optimizer_(task.parameters, options.adamw),
        sampler_(train, options.examples_per_step, options.seed),
        checkpoints_(options.directory + "/checkpoints"),
        router_trains_(Trains(task)) {}

  StatusOr<RunReport> Go() {
    const auto start = Clock::now();
    if (options_.restart && world_.rank() == 0) RETURN_IF_ERROR(checkpoints_.RemoveAll());
    world_.Barrier();
    RETURN_IF_ERROR(Resume());
    while (state_.step < options_.steps) {
      RETURN_IF_ERROR(Step());
      const bool last = state_.step == options_.steps;
      if (validation_ != nullptr && (last || Every(options_.evaluate_every))) RETURN_IF_ERROR(Validate());
      const bool stop = Stopping();
      if (stop || (!last && Every(options_.checkpoint_every))) RETURN_IF_ERROR(SaveCheckpoint());
      if (!stop || last) continue;
      report_.stopped = true;
      break;
    }
    if (!report_.stopped) RETURN_IF_ERROR(Finish());
    report_.steps = state_.step;
    report_.best_step = state_.best_step;
    report_.seconds = Since(start);
    return report_;
  }

 private:
  // Whether the optimiser has the router: else what moves beside gradients stands still, too.
  static bool Trains(const RunTask& task) {
    if (task.router == nullptr) return false;
    const std::vector<Parameter> own = task.router->Parameters();
    return !own.empty() && std::any_of(task.parameters.begin(), task.parameters.end(),
                                       [&](const Parameter& p) { return p.value.is_same(own.front().value); });
  }

  bool Every(int64_t steps) const { return steps > 0 && state_.step % steps == 0; }

  // All processes stop at the same step.
  bool Stopping() {
    double asked = options_.stop != nullptr && options_.stop->load() ? 1 : 0;
    world_.SumDoubles({&asked, 1});
    return asked > 0;
  }

  Status Resume() {
    state_.identity = options_.identity;
    std::vector<std::string> damaged;
    ASSIGN_OR_RETURN(std::optional<RunState> found, checkpoints_.Restore(options_.identity, optimizer_, &best_, &damaged));
    RETURN_IF_ERROR(CheckSameStep(found ? found->step : 0));
    if (log_ != nullptr) RETURN_IF_ERROR(log_->GoOnFrom(found ? found->step : 0));
    for (const std::string& message : damaged) RETURN_IF_ERROR(Say("damaged", message, {}));
    if (!found) return OkStatus();
    state_ = *found;
    sampler_.Seek(state_.consumed);
    Repack();
    report_.resumed = true;
    return Say("resumed", absl::StrFormat("resumed at step %d of %d", state_.step, options_.steps), {});
  }

  // Processes that do not share a disk would go on from different steps.
  Status CheckSameStep(int64_t step) {
    const auto mine = static_cast<double>(step), n = static_cast<double>(world_.size());
    double sums[] = {mine, mine * mine};
    world_.SumDoubles(sums);
    if (sums[0] == n * mine && sums[1] == n * mine * mine) return OkStatus();
    return FailedPrecondition("%s: process %d of %d found a checkpoint of step %d, others another one: is the directory shared by all?",
                              options_.directory, world_.rank(), world_.size(), step);
  }

  Status Say(const std::string& kind, const std::string& message, const std::vector<std::pair<std::string, double>>& scalars) {
    return log_ == nullptr ? OkStatus() : log_->Event(kind, state_.step, message, scalars);
  }

  void Repack() {
    for (LoraExpert& expert : *task_.experts) expert.Repack();
    task_.model->Repack();
  }

  Status Step() {
    const auto start = Clock::now();
    const std::vector<int64_t> examples = sampler_.Next();
    int64_t targets = 0, rows = 0;
    for (const int64_t example : examples) {
      const auto size = static_cast<int64_t>(train_.examples[example].tokens.size());
      rows += size;
      targets += size - train_.examples[example].answer_begin;
    }
    const std::vector<std::vector<int64_t>> passes = Passes(train_, Share(examples, world_), options_.tokens_per_pass);
    optimizer_.ZeroGradients();
    // The answers' gradients are of another size than the labels': moments of those would make the first steps by these far too long.
    if (state_.step > 0 && state_.step == options_.label_steps) optimizer_.Reset();
    if (task_.router != nullptr) task_.router->BeforeStep(state_.step);
    PassResult sum;
    for (size_t i = 0; i < passes.size(); ++i) {
      const PackedBatch batch = Pack(train_, passes[i]);
      TrainPass pass;
      pass.loss_scale = 1.0 / static_cast<double>(targets);
      pass.router_loss_scale = static_cast<double>(batch.tokens.size()) / static_cast<double>(rows);
      pass.lora_dropout = options_.lora_dropout;
      pass.orthogonality = options_.orthogonality;
      pass.router_losses_only = state_.step < options_.label_steps;
      pass.seed = ((options_.seed * 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(state_.step)) * 4096 + i) * 256 +
                  static_cast<uint64_t>(world_.rank());
      RoutePlan plan = PlanOf(task_, batch);
      if (task_.manifold != nullptr) plan.targets.neighbours = task_.manifold->Of(passes[i], batch);
      const auto result = task_.model->ForwardBackward(batch, plan, pass);
      if (!result.ok()) return Annotate(result.status(), absl::StrFormat("step %d", state_.step + 1));
      PassResult weighted = *result;
      weighted.router_loss *= pass.router_loss_scale;
      for (double& part : weighted.parts) part *= pass.router_loss_scale;
      Add(weighted, &sum);
    }
    SumResult(world_, &sum);
    for (const Parameter& parameter : optimizer_.parameters()) {
      if (world_.size() == 1) break;
      at::Tensor grad = parameter.grad;
      world_.SumFloats({grad.mutable_data_ptr<float>(), static_cast<size_t>(grad.numel())});
    }
    const double rate = options_.schedule.At(state_.step, options_.steps), norm = optimizer_.Step(rate);
    if (!std::isfinite(norm)) return Internal("step %d: the gradient's norm is not finite", state_.step + 1);
    if (router_trains_) {
      for (at::Tensor& sums : task_.router->StepSums()) {
        if (world_.size() > 1) world_.SumFloats({sums.mutable_data_ptr<float>(), static_cast<size_t>(sums.numel())});
      }
      task_.router->AfterStep(sum.expert_rows);
    }
    Repack();
    ++state_.step;
    state_.consumed = sampler_.consumed();
    report_.train_loss = sum.loss / static_cast<double>(sum.targets);
    report_.tokens += sum.rows;
    return Log(sum, rate, norm, Since(start));
  }

  Status Log(const PassResult& sum, double rate, double norm, double seconds) {
    if (log_ == nullptr) return OkStatus();
    StepRecord record;
    record.step = state_.step;
    record.total_steps = options_.steps;
    record.epoch = sampler_.epoch();
    record.tokens = sum.rows;
    record.seconds = seconds;
    record.scalars = {{"train/loss", sum.loss / static_cast<double>(sum.targets)},
                      {"train/accuracy", static_cast<double>(sum.correct) / static_cast<double>(sum.targets)},
                      {"train/learning_rate", rate},
                      {"train/gradient_norm", norm}};
    if (task_.router != nullptr) {
      record.scalars.emplace_back("train/router_loss", sum.router_loss);
      for (size_t i = 0; i < kNumLossParts; ++i) {
        if (sum.parts[i] != 0) record.scalars.emplace_back(absl::StrFormat("train/router_loss/%s", kLossNames[i]), sum.parts[i]);
      }
      for (auto& scalar : RoutingScalars(sum, *task_.experts)) record.scalars.push_back(std::move(scalar));
    }
    return log_->Step(record);
  }

  Status Validate() {
    ASSIGN_OR_RETURN(const PassResult result, EvaluateAll(task_, *validation_, options_.tokens_per_pass, world_));
    validated_ = {state_.step, result};
    const double loss = result.loss / static_cast<double>(std::max<int64_t>(result.targets, 1));
    const double accuracy = static_cast<double>(result.correct) / static_cast<double>(std::max<int64_t>(result.targets, 1));
    const bool better = state_.best_step < 0 || loss < state_.best_loss;
    if (better) {
      state_.best_loss = loss;
      state_.best_step = state_.step;
      best_.clear();
      for (const Parameter& parameter : optimizer_.parameters()) best_.push_back(parameter.value.detach().clone());
    }
    std::vector<std::pair<std::string, double>> scalars = {{"validation/loss", loss}, {"validation/accuracy", accuracy}};
    for (auto& [name, value] : RoutingScalars(result, *task_.experts)) scalars.emplace_back("validation/" + name, value);
    return Say("validation",
               absl::StrFormat("step %d: validation loss %.4f, token accuracy %.3f%s", state_.step, loss, accuracy,
                               better ? ", the best so far" : ""),
               scalars);
  }

  Status SaveCheckpoint() {
    Status saved = OkStatus();
    if (world_.rank() == 0) saved = checkpoints_.Save(state_, optimizer_, best_);
    world_.Barrier();
    return saved;
  }

  Status Finish() {
    report_.validation_loss = std::numeric_limits<double>::quiet_NaN();
    if (options_.keep_best && state_.best_step >= 0 && state_.best_step != state_.step) {
      c10::AutoGradMode no_grad(false);
      for (size_t i = 0; i < best_.size(); ++i) optimizer_.parameters()[i].value.detach().copy_(best_[i]);
      Repack();
    }
    if (validation_ == nullptr) return OkStatus();
    // The parameters are those of the last step or of the best one; often the last validation has just seen them.
    const int64_t kept = options_.keep_best && state_.best_step >= 0 ? state_.best_step : state_.step;
    if (validated_.step == kept) {
      report_.validation = std::move(validated_.result);
    } else {
      ASSIGN_OR_RETURN(report_.validation, EvaluateAll(task_, *validation_, options_.tokens_per_pass, world_));
    }
    const auto targets = static_cast<double>(std::max<int64_t>(report_.validation.targets, 1));
    report_.validation_loss = report_.validation.loss / targets;
    report_.validation_accuracy = static_cast<double>(report_.validation.correct) / targets;
    return OkStatus();
  }

  RunTask& task_;
  const Dataset& train_;
  const Dataset* validation_;
  const RunOptions& options_;
  Communicator& world_;
  RunLog* log_;
  AdamW optimizer_;
  BatchSampler sampler_;
  CheckpointStore checkpoints_;
  const bool router_trains_;
  RunState state_;
  std::vector<at::Tensor> best_;
  struct {
    int64_t step = -1;
    PassResult result;
  } validated_;  // the last validation of this process
  RunReport report_;
};

}  // namespace

StatusOr<RunReport> Train(RunTask& task, const Dataset& train, const Dataset* validation, const RunOptions& options, Communicator& world,
                          RunLog* log) {
  if (train.examples.empty()) return InvalidArgument("nothing to train on: no usable example (%d records were left out)", train.bad.size());
  if (task.parameters.empty()) return InvalidArgument("nothing to train: no parameter is trainable");
  if (validation != nullptr && validation->examples.empty()) return InvalidArgument("the validation data holds no usable example");
  return Run(task, train, validation, options, world, log).Go();
}

StatusOr<PassResult> EvaluateAll(const RunTask& task, const Dataset& data, int64_t tokens_per_pass, Communicator& world) {
  std::vector<int64_t> all(data.examples.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
  PassResult sum;
  for (const std::vector<int64_t>& pass : Passes(data, Share(all, world), tokens_per_pass)) {
    const PackedBatch batch = Pack(data, pass);
    RoutePlan plan = PlanOf(task, batch);
    plan.targets = {};  // another data set's domains may be other ones
    ASSIGN_OR_RETURN(const PassResult result, task.model->Evaluate(batch, plan, nullptr));
    Add(result, &sum);
  }
  SumResult(world, &sum);
  return sum;
}

std::vector<std::pair<std::string, double>> RoutingScalars(const PassResult& result, const std::vector<LoraExpert>& experts) {
  std::vector<std::pair<std::string, double>> scalars;
  const size_t n = experts.size();
  if (result.expert_rows.empty() || result.rows == 0) return scalars;
  const size_t layers = result.expert_rows.size() / n;
  std::vector<std::optional<double>> violation, collapse, entropy, utilisation;
  std::vector<std::vector<std::optional<double>>> share(n);
  for (size_t l = 0; l < layers; ++l) {
    const LoadFigures load = ComputeLoad(std::span(result.expert_rows).subspan(l * n, n));
    violation.push_back(load.max_violation);
    collapse.push_back(load.collapse);
    utilisation.push_back(load.utilisation);
    entropy.emplace_back(result.entropy[l] / static_cast<double>(result.rows));
    for (size_t e = 0; e < load.share.size(); ++e) share[e].emplace_back(load.share[e]);
  }
  // A figure that no layer has is left out.
  const auto add = [&](const std::string& name, const std::vector<std::optional<double>>& values) {
    if (const auto mean = MeanOverLayers(values)) scalars.emplace_back(name, *mean);
  };
  add("routing/max_vio", violation);
  add("routing/collapse", collapse);
  add("routing/utilisation", utilisation);
  add("routing/entropy", entropy);
  for (size_t e = 0; e < n; ++e) add("routing/share/" + experts[e].name, share[e]);
  return scalars;
}

}  // namespace switchyard::trainer
