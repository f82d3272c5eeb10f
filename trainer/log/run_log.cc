#include "trainer/log/run_log.h"

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "trainer/log/event_writer.h"
#include "trainer/log/metrics_file.h"
#include "trainer/log/progress_line.h"

namespace switchyard::trainer {

namespace {

using Clock = std::chrono::steady_clock;

// JSON has no NaN.
nlohmann::json Number(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(); }

class FileRunLog final : public RunLog {
 public:
  explicit FileRunLog(const Options& options)
      : options_(options),
        path_(options.directory + "/log.jsonl"),
        line_(options.title, options.shown),
        terminal_(isatty(STDERR_FILENO) != 0) {}

  Status Begin() {
    std::error_code error;
    std::filesystem::create_directories(options_.directory, error);
    file_.open(path_, std::ios::app);
    if (!file_) return FailedPrecondition("%s: cannot be written", path_);
    if (!options_.metrics_file.empty()) {
      metrics_ = std::make_unique<MetricsFile>(options_.metrics_file, options_.title);
      RETURN_IF_ERROR(metrics_->Write(true));  // a path that cannot be written ends the run before it begins
    }
    if (!options_.tensorboard) return OkStatus();
    ASSIGN_OR_RETURN(events_, EventWriter::Create(options_.directory + "/tensorboard"));
    return OkStatus();
  }

  Status GoOnFrom(int64_t step) override {
    std::ifstream in(path_, std::ios::binary);
    std::string kept;
    bool cut = false;
    for (std::string line; std::getline(in, line);) {
      const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      const bool keep =
          json.is_object() && json.contains("step") && json["step"].is_number_integer() && json["step"].get<int64_t>() <= step;
      cut |= !keep;
      if (keep) kept += line + "\n";
    }
    if (cut) {
      file_.close();
      const std::string staged = path_ + ".partial";
      std::ofstream(staged, std::ios::binary) << kept;
      std::error_code error;
      std::filesystem::rename(staged, path_, error);
      if (error) return FailedPrecondition("%s: cannot be replaced: %s", path_, error.message());
      file_.open(path_, std::ios::app);
      if (!file_) return FailedPrecondition("%s: cannot be written", path_);
    }
    return events_ != nullptr ? events_->Start(step + 1) : OkStatus();
  }

  Status Step(const StepRecord& record) override {
    const std::string line = line_.Next(record);
    nlohmann::ordered_json json = {{"step", record.step}, {"epoch", record.epoch}, {"tokens", record.tokens}, {"seconds", record.seconds}};
    const double rate = record.seconds > 0 ? static_cast<double>(record.tokens) / record.seconds : 0;
    json["tokens_per_second"] = rate;
    RETURN_IF_ERROR(Scalars(record.step, record.scalars, &json));
    if (events_ != nullptr) RETURN_IF_ERROR(events_->Scalar("train/tokens_per_second", record.step, rate));
    if (metrics_ != nullptr) {
      metrics_->Step(record.step, record.total_steps, record.epoch, record.tokens, record.seconds);
      metrics_->Scalars(record.scalars);
      RETURN_IF_ERROR(metrics_->Write(false));
    }
    Show(line, record.step == record.total_steps);
    return Write(json);
  }

  Status Event(const std::string& kind, int64_t step, const std::string& message,
               const std::vector<std::pair<std::string, double>>& scalars) override {
    nlohmann::ordered_json json = {{"event", kind}, {"step", step}, {"message", message}};
    RETURN_IF_ERROR(Scalars(step, scalars, &json));
    if (events_ != nullptr && scalars.empty()) RETURN_IF_ERROR(events_->Text("run/" + kind, step, message));
    if (metrics_ != nullptr && !scalars.empty()) {
      metrics_->Scalars(scalars);
      RETURN_IF_ERROR(metrics_->Write(true));
    }
    if (options_.progress) {
      EndLine();
      std::fprintf(stderr, "%s\n", message.c_str());
    }
    return Write(json);
  }

  Status Close() override {
    EndLine();
    file_.close();
    if (!file_) return DataLoss("%s: could not be written", path_);
    if (metrics_ != nullptr) RETURN_IF_ERROR(metrics_->Write(true));
    return events_ != nullptr ? events_->Flush() : OkStatus();
  }

 private:
  Status Scalars(int64_t step, const std::vector<std::pair<std::string, double>>& scalars, nlohmann::ordered_json* json) {
    for (const auto& [name, value] : scalars) {
      (*json)[name] = Number(value);
      if (events_ != nullptr) RETURN_IF_ERROR(events_->Scalar(name, step, value));
    }
    return OkStatus();
  }

  Status Write(const nlohmann::ordered_json& json) {
    file_ << json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    file_.flush();
    if (!file_) return DataLoss("%s: cannot be written", path_);
    return events_ != nullptr ? events_->Flush() : OkStatus();
  }

  // Elsewhere than on a terminal a line every ten seconds is enough.
  void Show(const std::string& line, bool last) {
    if (!options_.progress) return;
    if (terminal_) {
      std::fprintf(stderr, "\r\033[K%s", line.c_str());
      std::fflush(stderr);
      open_ = true;
      if (last) EndLine();
      return;
    }
    const Clock::time_point now = Clock::now();
    if (shown_ && !last && now - last_shown_ < std::chrono::seconds(10)) return;
    std::fprintf(stderr, "%s\n", line.c_str());
    shown_ = true;
    last_shown_ = now;
  }

  void EndLine() {
    if (open_) std::fprintf(stderr, "\n");
    open_ = false;
  }

  const Options options_;
  const std::string path_;
  ProgressLine line_;
  const bool terminal_;
  std::ofstream file_;
  std::unique_ptr<EventWriter> events_;
  std::unique_ptr<MetricsFile> metrics_;
  bool open_ = false, shown_ = false;
  Clock::time_point last_shown_;
};

}  // namespace

StatusOr<std::unique_ptr<RunLog>> RunLog::Open(const Options& options) {
  auto log = std::make_unique<FileRunLog>(options);
  RETURN_IF_ERROR(log->Begin());
  return log;
}

}  // namespace switchyard::trainer
