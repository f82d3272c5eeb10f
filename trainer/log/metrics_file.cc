#include "trainer/log/metrics_file.h"

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>

namespace switchyard::trainer {
namespace {

struct Metric {
  const char* tag;  // TensorBoard's, without "train/" or "validation/"
  const char* name;
  const char* help;
};
constexpr Metric kScalars[] = {
    {"loss", "switchyard_trainer_loss_nats", "Mean of -log p over the targets."},
    {"accuracy", "switchyard_trainer_accuracy_ratio", "Part of the targets that were the most likely token."},
    {"learning_rate", "switchyard_trainer_learning_rate", "Learning rate of the last step."},
    {"gradient_norm", "switchyard_trainer_gradient_norm", "Norm of the gradient before clipping."},
    {"router_loss", "switchyard_trainer_router_loss", "Losses beside the answers', with their coefficients."},
    {"router_loss/part", "switchyard_trainer_router_loss_part", "One of the losses beside the answers', with its coefficient."},
    {"routing/max_vio", "switchyard_trainer_routing_max_violation_ratio",
     "Largest expert load above the mean, over the mean; mean over layers."},
    {"routing/collapse", "switchyard_trainer_routing_collapse_ratio", "Part of the experts that nobody chose; mean over layers."},
    {"routing/entropy", "switchyard_trainer_routing_entropy_nats", "Entropy of the router's distribution; mean over tokens and layers."},
    {"routing/share", "switchyard_trainer_routing_load_share_ratio", "Part of all selections an expert got; mean over layers."},
};

std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

bool TakePrefix(const std::string& prefix, std::string* text) {
  if (!text->starts_with(prefix)) return false;
  text->erase(0, prefix.size());
  return true;
}

}  // namespace

void MetricsFile::Step(int64_t step, int64_t total_steps, double epoch, int64_t tokens, double seconds) {
  step_ = step;
  total_steps_ = total_steps;
  epoch_ = epoch;
  ++steps_;
  tokens_ += tokens;
  seconds_ += seconds;
}

void MetricsFile::Scalars(const std::vector<std::pair<std::string, double>>& scalars) {
  for (const auto& [full_tag, value] : scalars) {
    std::string tag = full_tag, labels = "set=\"train\"";
    if (TakePrefix("validation/", &tag)) labels = "set=\"validation\"";
    TakePrefix("train/", &tag);
    const std::string share = "routing/share/";
    if (tag.starts_with(share)) {
      labels += ",expert=\"" + Escaped(tag.substr(share.size())) + "\"";
      tag = "routing/share";
    }
    if (TakePrefix("router_loss/", &tag)) {
      labels += ",loss=\"" + Escaped(tag) + "\"";
      tag = "router_loss/part";
    }
    for (const Metric& metric : kScalars) {
      if (tag == metric.tag) values_[metric.name][labels] = value;
    }
  }
}

std::string MetricsFile::Text() const {
  const std::string run = "run=\"" + Escaped(run_) + "\"";
  std::string text;
  const auto begin = [&](const char* name, const char* type, const char* help) {
    absl::StrAppendFormat(&text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
  };
  const auto add = [&](const char* name, const char* type, const char* help, double value) {
    begin(name, type, help);
    absl::StrAppendFormat(&text, "%s{%s} %.17g\n", name, run, value);
  };
  add("switchyard_trainer_step", "gauge", "Steps done.", static_cast<double>(step_));
  add("switchyard_trainer_planned_steps", "gauge", "Steps the run will have.", static_cast<double>(total_steps_));
  add("switchyard_trainer_epoch", "gauge", "Passes over the training data.", epoch_);
  add("switchyard_trainer_steps_total", "counter", "Steps done by this process: less than the step after a run was resumed.",
      static_cast<double>(steps_));
  add("switchyard_trainer_tokens_total", "counter", "Tokens trained on by this process.", static_cast<double>(tokens_));
  add("switchyard_trainer_step_seconds_total", "counter", "Time inside steps of this process.", seconds_);
  add("switchyard_trainer_updated_timestamp_seconds", "gauge", "When this was written, since the epoch.",
      static_cast<double>(std::time(nullptr)));
  for (const Metric& metric : kScalars) {
    const auto found = values_.find(metric.name);
    if (found == values_.end()) continue;
    begin(metric.name, "gauge", metric.help);
    for (const auto& [labels, value] : found->second) absl::StrAppendFormat(&text, "%s{%s,%s} %.17g\n", metric.name, run, labels, value);
  }
  return text;
}

Status MetricsFile::Write(bool now) {
  const Clock::Time time = clock_->Now();
  if (!now && written_ && time - *written_ < kInterval) return OkStatus();
  written_ = time;
  const std::string staged = path_ + ".tmp";
  {
    std::ofstream file(staged, std::ios::trunc);
    file << Text();
    file.close();
    if (!file) return FailedPrecondition("%s: cannot be written", staged);
  }
  std::error_code error;
  std::filesystem::rename(staged, path_, error);
  if (error) return FailedPrecondition("%s: cannot be renamed to %s: %s", staged, path_, error.message());
  return OkStatus();
}

}  // namespace switchyard::trainer
