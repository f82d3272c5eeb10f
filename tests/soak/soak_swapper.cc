#include "tests/soak/soak_swapper.h"

#include <filesystem>
#include <fstream>
#include <iterator>

namespace switchyard::soak {
namespace fs = std::filesystem;
namespace {

using Code = absl::StatusCode;

LoadChange Expert(const std::string& name, const std::string& directory, bool replace = true) {
  return {ArtifactKind::kExpert, name, directory, replace, {}};
}
LoadChange Router(const std::string& name, const std::string& directory, bool replace = true) {
  return {ArtifactKind::kRouter, name, directory, replace, {}};
}

struct Broken {
  std::vector<Change> changes;
  Code code;
  bool allow_masking = false;  // so that a broken router gets as far as its own fault
};

// Each in another way. Written below the root once; what is refused leaves no trace, so they can be tried again and again.
std::vector<Broken> BrokenWays(const std::string& root) {
  std::vector<Broken> ways;
  const struct {
    const char* what;
    Code code;
  } files[] = {{"manifest cut off", Code::kDataLoss},
               {"header longer than the file", Code::kDataLoss},
               {"hash differs", Code::kDataLoss},
               {"NaN in lora_A", Code::kDataLoss},
               {"infinite lora_B", Code::kDataLoss},
               {"rank of another adapter", Code::kInvalidArgument},
               {"hidden size of another base", Code::kInvalidArgument},
               {"field nobody knows", Code::kUnimplemented},
               {"delta is zero", Code::kInvalidArgument},
               {"tensor missing", Code::kDataLoss},
               {"another format version", Code::kUnimplemented},
               {"made for another base", Code::kFailedPrecondition}};
  int number = 0;
  for (const auto& file : files) {
    for (const bool at_load : {false, true}) {
      const std::string line =
          absl::StrFormat("%s %d %s", at_load ? "load_error" : "inspect_error", static_cast<int>(file.code), file.what);
      const std::string name = "broken-" + std::to_string(number++), generation = "b" + std::to_string(number);
      WriteFakeExpert(root + "/" + name, generation, 64, line);
      ways.push_back({{Expert("law", name)}, file.code});
      WriteFakeRouter(root + "/" + name + "-router", generation + "r", {{"law", "law-0"}, {"code", "code-0"}, {"zero", "zero"}}, line);
      ways.push_back({{Router("stable-router", name + "-router")}, file.code, true});
    }
  }
  WriteFakeExpert(root + "/huge", "huge", int64_t{1} << 50);
  fs::create_directory_symlink("/", root + "/out");
  fs::create_directories(root + "/sly");
  fs::create_symlink("/etc/hostname", root + "/sly/expert.txt");
  fs::create_directories(root + "/empty");
  WriteFakeRouter(root + "/stranger", "stranger", {{"law", "never-made"}, {"code", "code-0"}, {"zero", "zero"}});
  const Change use_stranger = RoleChange{RouterRole::kStable, "stranger", 0};
  ways.insert(ways.end(), {{{Expert("law", "huge")}, Code::kResourceExhausted},
                           {{Expert("law", "../law-1")}, Code::kInvalidArgument},
                           {{Expert("law", "out")}, Code::kInvalidArgument},
                           {{Expert("law", "sly")}, Code::kInvalidArgument},
                           {{Expert("law", "empty")}, Code::kNotFound},
                           {{Expert("law", "nowhere")}, Code::kNotFound},
                           {{Expert("nobody", "law-1")}, Code::kNotFound},
                           {{Expert("bell\a", "law-1", false)}, Code::kInvalidArgument},
                           {{UnloadChange{ArtifactKind::kExpert, "nobody", {}}}, Code::kNotFound},
                           {{UnloadChange{ArtifactKind::kRouter, "stable-router", {}}}, Code::kFailedPrecondition},
                           {{RoleChange{RouterRole::kCanary, "nobody", 0.5}}, Code::kNotFound},
                           {{RoleChange{RouterRole::kCanary, "stable-router", 7}}, Code::kInvalidArgument},
                           {{Router("stranger", "stranger", false), use_stranger}, Code::kFailedPrecondition},
                           // The good half of a request whose other half is broken is not published either.
                           {{Expert("other", "code-3", false), Expert("law", "broken-1")}, Code::kDataLoss},
                           {{RollBackChange{1000000}}, Code::kNotFound}});
  return ways;
}

void Record(const Operation& operation, SwapFigures* figures) {
  for (const Operation::StepTime& time : operation.times) figures->step_ms[StepName(time.step)].push_back(time.ms);
}

// A change that must be published, or be found to be there already.
std::vector<Change> Good(std::mt19937& random, bool has_history) {
  const auto variant = [&] { return std::to_string(random() % SoakArtifacts::kVariants); };
  const std::string law = variant(), code = variant();
  switch (random() % 6) {
    case 0:  // under the router that runs: the expert is masked until its router comes
      return {Expert("law", "law-" + law)};
    case 1:
      return {Expert("code", "code-" + code)};
    case 2:
      if (has_history) return {RollBackChange{}};
      [[fallthrough]];
    default:  // an expert, or both, together with the router made with them
      return {Expert("law", "law-" + law), Expert("code", "code-" + code), Router("stable-router", "router-" + law + "-" + code)};
  }
}

}  // namespace

SoakArtifacts::SoakArtifacts(std::string root) : root_(std::move(root)) {
  fs::create_directories(root_);
  for (int l = 0; l < kVariants; ++l) {
    for (const char* name : {"law-", "code-"}) {
      const std::string artifact = name + std::to_string(l);
      WriteFakeExpert(root_ + "/" + artifact, artifact, 1000 + l);
      Add(artifact, artifact);
    }
    for (int c = 0; c < kVariants; ++c) {
      const std::string artifact = absl::StrFormat("router-%d-%d", l, c);
      WriteFakeRouter(root_ + "/" + artifact, artifact,
                      {{"law", "law-" + std::to_string(l)}, {"code", "code-" + std::to_string(c)}, {"zero", "zero"}},
                      l == c ? "separable 1" : "");
      Add(artifact, artifact);
    }
  }
}

CatalogContent SoakArtifacts::Initial() const {
  CatalogContent content;
  content.experts = {{"law", "law-0", ""}, {"code", "code-0", ""}, {"zero", "", ""}};
  content.routers = {{"stable-router", "router-0-0", ""}};
  content.stable = {"stable-router", 0};
  return content;
}

SwapFigures RunSwaps(Catalog& catalog, const SoakArtifacts& artifacts, uint64_t swaps, uint32_t seed,
                     const std::function<void(uint64_t)>& after) {
  std::mt19937 random(seed);
  const std::vector<Broken> ways = BrokenWays(artifacts.root());
  SwapFigures figures;
  figures.broken_ways = ways.size();
  size_t next_way = 0;
  while (figures.swaps < swaps && figures.wrong.size() < 20) {
    const bool broken = random() % 4 == 0;
    const Broken* way = broken ? &ways[next_way++ % ways.size()] : nullptr;
    ChangeRequest request;
    request.changes = broken ? way->changes : Good(random, figures.swaps > 0);
    request.allow_masking = broken && way->allow_masking;
    request.dry_run = !broken && random() % 16 == 0;
    const auto id = catalog.Submit(request);
    const auto done = id.ok() ? catalog.Wait(*id, Clock::Real()->Now() + std::chrono::seconds(60)) : StatusOr<Operation>(id.status());
    const Status error = done.ok() ? done->error : done.status();
    if (broken ? error.code() != way->code : !error.ok()) {
      figures.wrong.push_back(Summary(request) + ": " + error.ToString() +
                              (broken ? ", expected " + absl::StatusCodeToString(way->code) : ""));
    } else if (broken) {
      ++figures.refused;
      ++figures.refused_at[done.ok() ? StepName(done->step) : "submit"];
    } else {
      ++(done->changed && !request.dry_run ? figures.swaps : figures.unchanged);
    }
    if (done.ok() && !broken) Record(*done, &figures);
    after(figures.swaps);
  }
  return figures;
}

}  // namespace switchyard::soak
