#include "tests/testing/fake_snapshot_builder.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

namespace switchyard {
namespace {

struct Counted {
  explicit Counted(std::shared_ptr<std::atomic<int>> count) : count_(std::move(count)) { ++*count_; }
  ~Counted() { --*count_; }
  Counted(const Counted&) = delete;
  std::shared_ptr<std::atomic<int>> count_;
};

struct FakeExpertPart final : ExpertPart {
  FakeExpertPart(ExpertInfo info, std::shared_ptr<std::atomic<int>> count) : info_(std::move(info)), counted_(std::move(count)) {}
  const ExpertInfo& info() const override { return info_; }
  ExpertInfo info_;
  Counted counted_;
};
struct FakeRouterPart final : RouterPart {
  FakeRouterPart(RouterInfo info, std::shared_ptr<std::atomic<int>> count) : info_(std::move(info)), counted_(std::move(count)) {}
  const RouterInfo& info() const override { return info_; }
  RouterInfo info_;
  Counted counted_;
};
struct PlannedSnapshot final : Snapshot {
  PlannedSnapshot(SnapshotInfo info, SnapshotPlan plan, std::shared_ptr<std::atomic<int>> count)
      : info_(std::move(info)), plan_(std::move(plan)), counted_(std::move(count)) {}
  const SnapshotInfo& info() const override { return info_; }
  SnapshotInfo info_;
  SnapshotPlan plan_;  // keeps the parts alive
  Counted counted_;
};

struct Parsed {
  std::string generation, base = "base-1";
  int64_t bytes = 10;
  bool separable = false;
  std::vector<RouterInfo::Binding> experts;
  Status inspect, load;
};

Status ErrorOf(std::istringstream& line) {
  int code = 0;
  line >> code;
  std::string message;
  std::getline(line, message);
  return Status(static_cast<absl::StatusCode>(code), message);
}

StatusOr<Parsed> Parse(const std::string& path) {
  std::ifstream file(path);
  if (!file) return NotFound("%s: not there", path);
  Parsed parsed;
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string key;
    line >> key;
    if (key == "generation") line >> parsed.generation;
    if (key == "bytes") line >> parsed.bytes;
    if (key == "base") line >> parsed.base;
    if (key == "separable") line >> parsed.separable;
    if (key == "inspect_error") parsed.inspect = ErrorOf(line);
    if (key == "load_error") parsed.load = ErrorOf(line);
    if (key == "bind") {
      RouterInfo::Binding binding;
      line >> binding.name >> binding.generation;
      binding.is_zero = binding.generation == "zero";
      parsed.experts.push_back(binding);
    }
  }
  RETURN_IF_ERROR(parsed.inspect);
  return parsed;
}

}  // namespace

StatusOr<ExpertInfo> FakeSnapshotBuilder::InspectExpert(const std::string& directory) {
  ExpertInfo info;
  if (directory.empty()) {
    info.generation = "zero";
    info.is_zero = true;
    return info;
  }
  ASSIGN_OR_RETURN(const Parsed parsed, Parse(directory + "/expert.txt"));
  info.generation = parsed.generation;
  info.bytes = parsed.bytes;
  info.max_rank = 4;
  return info;
}

StatusOr<RouterInfo> FakeSnapshotBuilder::InspectRouter(const std::string& directory) {
  ASSIGN_OR_RETURN(const Parsed parsed, Parse(directory + "/router.txt"));
  RouterInfo info;
  info.name = std::filesystem::path(directory).filename();
  info.kind = "linear";
  info.generation = parsed.generation;
  info.base_generation = parsed.base;
  info.experts = parsed.experts;
  info.top_k = 1;
  info.separable = parsed.separable;
  info.bytes = parsed.bytes;
  return info;
}

StatusOr<std::shared_ptr<const ExpertPart>> FakeSnapshotBuilder::LoadExpert(const std::string& directory) {
  before_load();
  ++loads;
  ASSIGN_OR_RETURN(ExpertInfo info, InspectExpert(directory));
  if (!directory.empty()) {
    ASSIGN_OR_RETURN(const Parsed parsed, Parse(directory + "/expert.txt"));
    RETURN_IF_ERROR(parsed.load);
  }
  return std::make_shared<const FakeExpertPart>(std::move(info), live_parts);
}

StatusOr<std::shared_ptr<const RouterPart>> FakeSnapshotBuilder::LoadRouter(const std::string& directory) {
  before_load();
  ++loads;
  ASSIGN_OR_RETURN(RouterInfo info, InspectRouter(directory));
  ASSIGN_OR_RETURN(const Parsed parsed, Parse(directory + "/router.txt"));
  RETURN_IF_ERROR(parsed.load);
  if (info.base_generation != base_) return FailedPrecondition("made for base %s, this is base %s", info.base_generation, base_);
  return std::make_shared<const FakeRouterPart>(std::move(info), live_parts);
}

StatusOr<std::shared_ptr<const Snapshot>> FakeSnapshotBuilder::Build(const SnapshotPlan& plan) {
  RETURN_IF_ERROR(before_build());
  SnapshotInfo info = like_;
  info.experts.clear();
  info.router_name = info.router_kind = info.router_generation = "";
  info.learned_experts = 0;
  info.base_generation = base_;
  info.generation = base_;
  for (const SnapshotPlan::Entry& entry : plan.experts) {
    const ExpertInfo& expert = entry.part->info();
    info.experts.push_back({entry.name, expert.generation, expert.is_zero, expert.max_rank, expert.bytes});
    info.generation += "/" + entry.name + "=" + expert.generation;
  }
  if (plan.router != nullptr) {
    info.router_name = plan.router->info().name;
    info.router_kind = plan.router->info().kind;
    info.router_generation = plan.router->info().generation;
    for (const RouterInfo::Binding& bound : plan.router->info().experts) {
      for (const SnapshotPlan::Entry& entry : plan.experts)
        info.learned_experts += entry.name == bound.name && entry.part->info().generation == bound.generation;
    }
    info.generation += "/router=" + info.router_generation;
  }
  return std::make_shared<const PlannedSnapshot>(std::move(info), plan, live_snapshots);
}

void WriteFakeExpert(const std::string& directory, const std::string& generation, int64_t bytes, const std::string& more) {
  std::filesystem::create_directories(directory);
  std::ofstream(directory + "/expert.txt") << "generation " << generation << "\nbytes " << bytes << "\n" << more << "\n";
}

void WriteFakeRouter(const std::string& directory, const std::string& generation,
                     const std::vector<std::pair<std::string, std::string>>& binds, const std::string& more) {
  std::filesystem::create_directories(directory);
  std::ofstream file(directory + "/router.txt");
  file << "generation " << generation << "\nbytes 5\n";
  for (const auto& [name, bound] : binds) file << "bind " << name << " " << bound << "\n";
  file << more << "\n";
}

}  // namespace switchyard
