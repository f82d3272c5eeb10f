#include "trainer/commands/common.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/sha256.h"
#include "trainer/data/dataset_loader.h"

namespace switchyard::trainer {

namespace {

std::atomic<bool> stop_requested = false;

// [DOMAIN=]PATH; without a name the file's own.
DataSource ParseSource(const std::string& text, const std::string& format) {
  const size_t equals = text.find('=');
  DataSource source;
  source.format = format;
  const std::string path = equals == std::string::npos ? text : text.substr(equals + 1);
  source.domain = equals == std::string::npos ? std::filesystem::path(path).stem().string() : text.substr(0, equals);
  source.paths = {path};
  return source;
}

std::vector<DataSource> ParseSources(const std::vector<std::string>& texts, const std::string& format) {
  std::vector<DataSource> sources;
  for (const std::string& text : texts) sources.push_back(ParseSource(text, format));
  return sources;
}

StatusOr<PromptTemplates> ReadTemplates(const std::string& path) {
  if (path.empty()) return PromptTemplates::Default();
  std::ifstream in(path, std::ios::binary);
  if (!in) return NotFound("%s: cannot be opened", path);
  std::stringstream text;
  text << in.rdbuf();
  return ParseTemplates(text.str(), path);
}

}  // namespace

void CommonFlags::AddTo(CLI::App& app, double default_rate) {
  learning_rate = default_rate;
  app.add_option("--base", base, "Hugging Face directory of the base model")->required();
  app.add_option("--out", out, "artifact directory; must not exist")->required();
  app.add_option("--dtype", dtype, "auto, bf16 or f32: of the products; parameters and sums are f32")->capture_default_str();
  app.add_option("--threads", threads, "0: the number of cores")->capture_default_str();
  app.add_option(
         "--data", data,
         "[DOMAIN=]PATH: questions (MedMCQA, CaseHOLD, MathQA, MMLU, freeCodeCamp, JSONL) or {prompt, answer} lines; a file or a directory")
      ->required()
      ->group("Data");
  app.add_option("--validation", validation, "[DOMAIN=]PATH; without it a share of the training prompts is held out")->group("Data");
  app.add_option("--validation-share", validation_share, "held out when there is no --validation; 0: none")
      ->capture_default_str()
      ->group("Data");
  app.add_option("--format", format, "auto, medmcqa, casehold, mathqa, mmlu, freecodecamp, jsonl, pairs or chat")
      ->capture_default_str()
      ->group("Data");
  app.add_option("--target", target, "text: the right option's text after a prompt without options; letter; both; dense2moe")
      ->capture_default_str()
      ->group("Data");
  app.add_option("--template", template_file, "prompt template, as of 'switchyard score'")->group("Data");
  app.add_flag("--append-eos", append_eos, "end questions' answers with the model's end token")->group("Data");
  app.add_option("--max-tokens", max_tokens, "longer examples are left out, and counted")->capture_default_str()->group("Data");
  app.add_option("--max-records", max_records, "of each source, drawn by the seed; 0: all")->capture_default_str()->group("Data");
  app.add_option("--steps", steps, "optimiser steps; 0: by --epochs")->capture_default_str()->group("Run");
  app.add_option("--epochs", epochs)->capture_default_str()->group("Run");
  app.add_option("--batch", batch, "examples a step")->capture_default_str()->check(CLI::PositiveNumber)->group("Run");
  app.add_option("--tokens-per-pass", tokens_per_pass, "a step's examples are accumulated in passes of so many tokens: bounds memory")
      ->capture_default_str()
      ->group("Run");
  app.add_option("--lr", learning_rate, "peak learning rate")->capture_default_str()->group("Run");
  app.add_option("--warmup", warmup, "share of the steps")->capture_default_str()->group("Run");
  app.add_option("--final-lr", final_rate, "at the end, as a share of the peak")->capture_default_str()->group("Run");
  app.add_option("--weight-decay", weight_decay)->capture_default_str()->group("Run");
  app.add_option("--clip", clip, "of the gradient's norm; 0: never")->capture_default_str()->group("Run");
  app.add_option("--seed", seed)->capture_default_str()->group("Run");
  app.add_option("--evaluate-every", evaluate_every, "steps; 0: at the end only")->capture_default_str()->group("Run");
  app.add_option("--checkpoint-every", checkpoint_every, "steps; 0: never")->capture_default_str()->group("Run");
  app.add_flag("--keep-last", keep_last, "publish the last parameters in place of the best by validation loss")->group("Run");
  app.add_flag("--restart", restart, "forget the checkpoints of an earlier run")->group("Run");
  app.add_flag("--recompute", recompute, "keep only each layer's input: less memory, a third slower")->group("Run");
  app.add_flag("--tensorboard,!--no-tensorboard", tensorboard, "event files in RUN/tensorboard")->group("Run");
  app.add_option("--prometheus-textfile", prometheus_textfile,
                 "FILE.prom for the textfile collector of node_exporter, replaced every five seconds")
      ->group("Run");
  app.add_flag("--quiet", quiet, "no progress line")->group("Run");
}

std::string CommonFlags::Decisive() const {
  std::ostringstream out;
  out << dtype << '|' << target << '|' << template_file << '|' << append_eos << '|' << max_tokens << '|' << max_records << '|' << steps
      << '|' << epochs << '|' << batch << '|' << tokens_per_pass << '|' << learning_rate << '|' << warmup << '|' << final_rate << '|'
      << weight_decay << '|' << clip << '|' << seed << '|' << keep_last << '|' << evaluate_every;
  return out.str();
}

StatusOr<std::unique_ptr<Workbench>> Workbench::Open(const CommonFlags& flags, const std::string& title, Communicator& world) {
  if (!flags.out.empty() && std::filesystem::exists(flags.out))
    return AlreadyExists("--out %s is there already: choose another name or remove it", flags.out);
  if (flags.validation_share < 0 || flags.validation_share >= 1)
    return InvalidArgument("--validation-share: expected 0 to 1, found %g", flags.validation_share);
  std::unique_ptr<Workbench> bench(new Workbench(world));
  bench->quiet_ = flags.quiet;
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int threads = flags.threads > 0 ? flags.threads : std::max(1, cores / world.size());
  bench->pool_ = std::make_unique<kernels::ThreadPool>(threads);
  at::set_num_threads(threads);
  ASSIGN_OR_RETURN(bench->base_, ReadBaseWeights(flags.base, flags.dtype, flags.max_tokens));
  bench->compute_ = {bench->base_.dtype, bench->pool_.get()};
  if (flags.data.empty()) return bench;
  ASSIGN_OR_RETURN(bench->tokenizer_, Tokenizer::Load(flags.base));

  DataOptions data;
  data.sources = ParseSources(flags.data, flags.format);
  ASSIGN_OR_RETURN(data.target, ParseTarget(flags.target));
  ASSIGN_OR_RETURN(data.templates, ReadTemplates(flags.template_file));
  if (auto chat = ChatTemplate::Load(flags.base); chat.ok()) {
    data.chat_template = *std::move(chat);
  } else if (chat.status().code() != absl::StatusCode::kNotFound) {
    return chat.status();
  }
  if (flags.append_eos) data.append_eos = true;
  data.bos_token = bench->base_.config.bos_token_id;
  if (!bench->base_.config.eos_token_ids.empty()) data.eos_token = bench->base_.config.eos_token_ids.front();
  data.max_tokens = std::min<int64_t>(flags.max_tokens, bench->base_.config.max_positions);
  data.max_records = flags.max_records;
  data.sample_records = true;
  data.seed = flags.seed;
  if (!flags.validation.empty()) {
    ASSIGN_OR_RETURN(bench->train_, LoadDataset(data, *bench->tokenizer_));
    data.sources = ParseSources(flags.validation, flags.format);
    ASSIGN_OR_RETURN(bench->validation_, LoadDataset(data, *bench->tokenizer_));
  } else if (flags.validation_share > 0) {
    ASSIGN_OR_RETURN(TrainAndValid both, LoadTrainAndValid(data, flags.validation_share, *bench->tokenizer_));
    bench->train_ = std::move(both.train);
    bench->validation_ = std::move(both.valid);
  } else {
    ASSIGN_OR_RETURN(bench->train_, LoadDataset(data, *bench->tokenizer_));
  }
  if (flags.out.empty()) {
    bench->WarnOfLeftOut();
    return bench;
  }
  bench->run_directory_ = flags.out + ".run";
  std::error_code error;
  std::filesystem::create_directories(bench->run_directory_, error);
  if (error) return FailedPrecondition("%s: cannot be created: %s", bench->run_directory_, error.message());
  if (!bench->first()) return bench;
  RunLog::Options log;
  log.directory = bench->run_directory_;
  log.tensorboard = flags.tensorboard;
  log.metrics_file = flags.prometheus_textfile;
  log.progress = !flags.quiet;
  log.title = title;
  log.shown = {"train/loss", "train/accuracy"};
  if (title.starts_with("router")) log.shown.insert(log.shown.end(), {"routing/utilisation", "routing/max_vio", "routing/collapse"});
  ASSIGN_OR_RETURN(bench->log_, RunLog::Open(log));
  RETURN_IF_ERROR(bench->TellOfData());
  return bench;
}

void Workbench::WarnOfLeftOut() const {
  if (!first()) return;
  for (const auto& [part, data] : {std::pair{"data", &train_}, std::pair{"validation data", &validation_}}) {
    if (!data->bad.empty()) std::fprintf(stderr, "%s: %s", part, DescribeLeftOut(*data).c_str());
  }
}

Status Workbench::TellOfData() {
  RETURN_IF_ERROR(log_->Event("data", 0, "training    " + DescribeDataset(train_), {}));
  if (!validation_.examples.empty()) RETURN_IF_ERROR(log_->Event("data", 0, "validation  " + DescribeDataset(validation_), {}));
  if (quiet_) WarnOfLeftOut();
  std::string lines;
  for (const Dataset* data : {&train_, &validation_}) {
    for (const BadLine& bad : data->bad) {
      const nlohmann::ordered_json json = {{"file", bad.file}, {"line", bad.line}, {"reason", bad.reason}};
      lines += json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    }
  }
  const std::string path = run_directory_ + "/left_out.jsonl";
  std::error_code ignored;
  if (lines.empty()) {
    std::filesystem::remove(path, ignored);
    return OkStatus();
  }
  return WriteFileAtomically(path, lines);
}

RunOptions Workbench::Options(const CommonFlags& flags, const std::string& decisive) const {
  RunOptions options;
  options.directory = run_directory_;
  const double examples = static_cast<double>(train_.examples.size());
  options.steps =
      flags.steps > 0 ? flags.steps : std::max<int64_t>(1, std::llround(flags.epochs * examples / static_cast<double>(flags.batch)));
  options.examples_per_step = flags.batch;
  options.tokens_per_pass = flags.tokens_per_pass;
  options.schedule = {flags.learning_rate, flags.warmup, flags.final_rate};
  options.adamw.weight_decay = flags.weight_decay;
  options.adamw.clip = flags.clip;
  options.seed = flags.seed;
  options.evaluate_every = flags.evaluate_every;
  options.checkpoint_every = flags.checkpoint_every;
  options.keep_best = !flags.keep_last;
  options.restart = flags.restart;
  options.stop = &StopRequested();
  options.identity = Sha256Hex(flags.Decisive() + "|" + std::to_string(world_.size()) + "|" + decisive + "|" + base_.generation + "|" +
                               train_.fingerprint + "|" + validation_.fingerprint);
  return options;
}

void Workbench::Say(const std::string& line) {
  if (first() && !quiet_) std::fprintf(stderr, "%s\n", line.c_str());
}

const std::atomic<bool>& StopRequested() { return stop_requested; }

void CatchSignals() {
  static_assert(std::atomic<bool>::is_always_lock_free);
  const auto handler = [](int) { stop_requested.store(true); };
  std::signal(SIGINT, handler);
  std::signal(SIGTERM, handler);
}

std::string Summary(const RunReport& report) {
  const double rate = report.seconds > 0 ? static_cast<double>(report.tokens) / report.seconds : 0;
  std::string text = absl::StrFormat("%d steps, %d tokens in %.0f s (%.0f tokens/s), last training loss %.4f", report.steps, report.tokens,
                                     report.seconds, rate, report.train_loss);
  if (!std::isnan(report.validation_loss)) {
    text += absl::StrFormat("; validation loss %.4f (perplexity %.3f), token accuracy %.3f, kept from step %d", report.validation_loss,
                            std::exp(report.validation_loss), report.validation_accuracy, report.best_step);
  }
  return text;
}

}  // namespace switchyard::trainer
