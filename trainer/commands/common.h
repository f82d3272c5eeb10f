// What the trainer's commands share: their flags, and setting up base, data, threads and log.
#pragma once

#include <CLI/CLI.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/kernels/thread_pool.h"
#include "engine/text/tokenizer.h"
#include "trainer/data/example.h"
#include "trainer/log/run_log.h"
#include "trainer/nn/base_weights.h"
#include "trainer/run/communicator.h"
#include "trainer/run/training_run.h"

namespace switchyard::trainer {

// Flags of every training command.
struct CommonFlags {
  std::string base;
  std::string out;
  std::string dtype = "auto";
  int threads = 0;
  // data
  std::vector<std::string> data;        // [DOMAIN=]PATH
  std::vector<std::string> validation;  // the same; empty: a share of the training prompts
  double validation_share = 0.1;
  std::string format = "auto";
  std::string target = "text";
  std::string template_file;
  bool append_eos = false;
  int64_t max_tokens = 512;
  int64_t max_records = 0;
  // run
  int64_t steps = 0;  // 0: by epochs
  double epochs = 1;
  int64_t batch = 16;
  int64_t tokens_per_pass = 2048;
  double learning_rate = 1e-3;
  double warmup = 0.1;
  double final_rate = 0;
  double weight_decay = 0.01;
  double clip = 1;
  uint64_t seed = 1;
  int64_t evaluate_every = 20;
  int64_t checkpoint_every = 50;
  bool keep_last = false;
  bool restart = false;
  bool recompute = false;
  bool tensorboard = true;
  std::string prometheus_textfile;
  bool quiet = false;

  void AddTo(CLI::App& app, double default_rate);
  // Text of everything that decides the outcome: part of a checkpoint's identity.
  std::string Decisive() const;
};

// Everything a command needs before it makes its model. Not copyable: parts point to one another.
class Workbench {
 public:
  // Reads base and data, opens RUN = <out>.run with log and checkpoints (not when `out` is empty). ALREADY_EXISTS when `out` is there, so
  // that nothing is trained for nothing. Without --data (commands that can do without) the data sets are empty and no run is opened.
  static StatusOr<std::unique_ptr<Workbench>> Open(const CommonFlags& flags, const std::string& title, Communicator& world);

  const TrainCompute& compute() const { return compute_; }
  const BaseWeights& base() const { return base_; }
  const Dataset& train() const { return train_; }
  const Dataset& validation() const { return validation_; }
  RunLog* log() { return log_.get(); }  // null without a run directory, and on all but the first process
  const std::string& run_directory() const { return run_directory_; }
  Communicator& world() { return world_; }
  bool first() const { return world_.rank() == 0; }

  // `decisive`: what the command itself adds to the run's identity.
  RunOptions Options(const CommonFlags& flags, const std::string& decisive) const;
  // A line a person reads, unless --quiet. Only on the first process.
  void Say(const std::string& line);

 private:
  // What was left out of the data, on standard error. Only on the first process.
  void WarnOfLeftOut() const;
  // What the data are: an event in the log, every record that was left out in RUN/left_out.jsonl, and a warning even with --quiet.
  Status TellOfData();

  explicit Workbench(Communicator& world) : world_(world) {}
  Communicator& world_;
  std::unique_ptr<kernels::ThreadPool> pool_;
  TrainCompute compute_;
  BaseWeights base_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Dataset train_, validation_;
  std::unique_ptr<RunLog> log_;
  std::string run_directory_;
  bool quiet_ = false;
};

// Set by SIGINT and SIGTERM.
const std::atomic<bool>& StopRequested();
void CatchSignals();

// The end of a command: what was reached; when it was stopped, how to go on.
std::string Summary(const RunReport& report);

// One function a command: adds itself to `app`; `result` is where the chosen command leaves its status.
void AddExpertCommand(CLI::App& app, Communicator& world, Status* result);
void AddRouterCommand(CLI::App& app, Communicator& world, Status* result);
void AddCalibrateCommand(CLI::App& app, Communicator& world, Status* result);
void AddEvaluateCommand(CLI::App& app, Communicator& world, Status* result);
void AddDemoDataCommand(CLI::App& app, Status* result);
void AddImportCommand(CLI::App& app, Status* result);
void AddCompareCommand(CLI::App& app, Status* result);
void AddPlacementCommand(CLI::App& app, Communicator& world, Status* result);

}  // namespace switchyard::trainer
