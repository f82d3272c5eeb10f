// real_soak: N clients (Generate, Score, Route, cancels) against a running switchyard-server while its experts and routers are swapped
// through its admin port M times, broken artifacts among them. Run by real_soak.py, which makes the artifacts and starts the server.
// Every answer is compared, bit for bit, with what the same server says when the generation it names is brought back and nothing else runs.
// Before the swaps the clients run as long without any, so that the times between two tokens can be compared. Prints JSON; exit code 1 when
// anything failed, was mixed, or did not come out as it must.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "switchyard/v1/admin.grpc.pb.h"
#include "tests/soak/rss_watch.h"
#include "tests/soak/soak_clients.h"
#include "tests/soak/soak_report.h"

namespace switchyard::soak {
namespace {

struct Flags {
  std::string server, admin, broken, json;
  std::string pid;  // of the server, to watch its memory
  int sets = 3, clients = 4;
  uint64_t swaps = 50;
  uint32_t seed = 1;
  double quiet_seconds = 2;
  int pause_ms = 0;  // between two changes
  bool check = true;
};

// The directories of what is served, below the artifact root.
struct Content {
  std::string law, code, router;
  auto operator<=>(const Content&) const = default;
};

struct BrokenArtifact {
  v1::ArtifactKind kind;
  std::string directory;
};

class Admin {
 public:
  explicit Admin(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    stub_ = v1::Admin::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }
  grpc::Status Apply(v1::ApplyRequest request, v1::Operation* operation) {
    request.set_wait_ms(60000);
    grpc::ClientContext context;
    return stub_->Apply(&context, request, operation);
  }
  v1::CatalogState List() {
    grpc::ClientContext context;
    v1::CatalogState state;
    const grpc::Status status = stub_->List(&context, {}, &state);
    if (!status.ok()) std::fprintf(stderr, "real_soak: List: %s\n", status.error_message().c_str());
    return state;
  }

 private:
  std::unique_ptr<v1::Admin::Stub> stub_;
};

void AddLoad(v1::ApplyRequest* request, v1::ArtifactKind kind, const std::string& name, const std::string& directory) {
  v1::LoadChange* load = request->add_changes()->mutable_load();
  load->set_kind(kind);
  load->set_name(name);
  load->set_directory(directory);
  load->set_replace(true);
}

v1::ApplyRequest Bring(const Content& content, const std::string& router) {
  v1::ApplyRequest request;
  AddLoad(&request, v1::ARTIFACT_KIND_EXPERT, "law", content.law);
  AddLoad(&request, v1::ARTIFACT_KIND_EXPERT, "code", content.code);
  AddLoad(&request, v1::ARTIFACT_KIND_ROUTER, router, content.router);
  request.set_allow_masking(true);
  return request;
}

class Soak {
 public:
  explicit Soak(const Flags& flags) : flags_(flags), admin_(flags.admin), random_(flags.seed), rss_(flags.pid, flags.swaps) {
    std::ifstream lines(flags.broken);
    for (std::string kind, directory; lines >> kind >> directory;)
      broken_.push_back({kind == "router" ? v1::ARTIFACT_KIND_ROUTER : v1::ARTIFACT_KIND_EXPERT, directory});
  }

  int Run() {
    router_ = Stable().router();
    Swap(Whole(0));
    SoakClients quiet(flags_.server, flags_.clients, flags_.seed);
    std::this_thread::sleep_for(std::chrono::duration<double>(flags_.quiet_seconds));
    quiet.Stop();
    SoakClients busy(flags_.server, flags_.clients, flags_.seed + 1);
    const auto begin = std::chrono::steady_clock::now();
    while (swaps_ < flags_.swaps && wrong_.size() < 20) {
      if (!broken_.empty() && random_() % 4 == 0) {
        TryBroken(broken_[refused_++ % broken_.size()]);
      } else {
        Swap(Next());
      }
      rss_.Sample(swaps_, 0);
      std::this_thread::sleep_for(std::chrono::milliseconds(flags_.pause_ms));
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    busy.Stop();
    if (!rss_.flat()) wrong_.push_back("the server's memory grew");
    std::vector<std::string> mixed;
    Check(quiet, &mixed);
    Check(busy, &mixed);
    return Report(quiet, busy, seconds, mixed);
  }

 private:
  Content Whole(int set) const {
    const std::string at = "set-" + std::to_string(set);
    return {at + "/experts/law", at + "/experts/code", at + "/router"};
  }
  // Mostly a router with the experts it was made with; sometimes an expert alone, which the router then masks.
  Content Next() {
    Content next = Whole(static_cast<int>(random_() % flags_.sets));
    if (random_() % 3 != 0) return next;
    Content only = present_;
    (random_() % 2 == 0 ? only.law : only.code) = random_() % 2 == 0 ? next.law : next.code;
    return only;
  }

  v1::CatalogState::Role Stable() {
    const v1::CatalogState state = admin_.List();
    for (const auto& role : state.roles()) {
      if (role.role() == v1::ROUTER_ROLE_STABLE) return role;
    }
    return {};
  }

  void Swap(const Content& content) {
    v1::Operation operation;
    const grpc::Status status = admin_.Apply(Bring(content, router_), &operation);
    if (!status.ok() || operation.state() != v1::Operation::STATE_SUCCEEDED) {
      wrong_.push_back("a swap that should succeed: " + status.error_message() + operation.error().message());
      return;
    }
    present_ = content;
    ++(operation.changed() ? swaps_ : unchanged_);
    for (const auto& step : operation.steps()) step_ms_[step.name()].push_back(step.ms());
    contents_[Stable().snapshot()] = content;
  }

  void TryBroken(const BrokenArtifact& broken) {
    v1::ApplyRequest request;
    AddLoad(&request, broken.kind, broken.kind == v1::ARTIFACT_KIND_ROUTER ? router_ : "law", broken.directory);
    request.set_allow_masking(true);
    v1::Operation operation;
    const grpc::Status status = admin_.Apply(request, &operation);
    const int code = status.ok() ? operation.error().code() : static_cast<int>(status.error_code());
    if (status.ok() && operation.state() != v1::Operation::STATE_FAILED) {
      wrong_.push_back(broken.directory + " is broken, and was accepted");
    } else if (code == static_cast<int>(grpc::StatusCode::INTERNAL) || code == static_cast<int>(grpc::StatusCode::UNKNOWN)) {
      wrong_.push_back(broken.directory + ": the error blames the server: " + status.error_message() + operation.error().message());
    }
    reasons_[broken.directory] = operation.error().step() + ": " + status.error_message() + operation.error().message();
  }

  void Check(const SoakClients& clients, std::vector<std::string>* mixed) {
    Asker asker(flags_.server);
    std::string serving;
    for (const auto& [key, contents] : clients.seen()) {
      const auto& [generation, question] = key;
      const auto content = contents_.find(generation);
      if (content == contents_.end()) {
        mixed->push_back("an answer names generation \"" + generation + "\", which was never published");
        continue;
      }
      if (serving != generation) Swap(content->second);
      serving = generation;
      Answer expected;
      const grpc::Status status = asker.Ask(question, &expected);
      if (!status.ok()) mixed->push_back("quiet run: " + status.error_message());
      if (expected.generation != generation) mixed->push_back(generation + " brought back is " + expected.generation);
      for (const std::string& seen : contents) {
        if (seen != expected.content) mixed->push_back("question " + std::to_string(question) + " on " + generation + " differs");
      }
    }
  }

  int Report(const SoakClients& quiet, const SoakClients& busy, double seconds, const std::vector<std::string>& mixed) {
    nlohmann::ordered_json report = {
        {"swaps", flags_.swaps},
        {"unchanged", unchanged_},
        {"broken_ways", broken_.size()},
        {"refused", refused_},
        {"seconds", seconds},
        {"clients", flags_.clients},
        {"answers", quiet.answers() + busy.answers()},
        {"cancelled", quiet.cancelled() + busy.cancelled()},
        {"generations", contents_.size()},
        {"failed", quiet.failures().size() + busy.failures().size()},
        {"mixed", mixed.size()},
        {"wrong_operations", wrong_.size()},
        {"rss_first_half_bytes", rss_.first_half()},
        {"rss_second_half_bytes", rss_.second_half()},
        {"between_tokens", {{"without_swaps", Times(quiet.gaps_ms())}, {"with_swaps", Times(busy.gaps_ms())}}},
        {"request", {{"without_swaps", Times(quiet.latencies_ms())}, {"with_swaps", Times(busy.latencies_ms())}}}};
    for (const auto& [step, values] : step_ms_) report["steps"][step] = Times(values);
    for (const auto& [directory, reason] : reasons_) report["refusals"][directory] = reason;
    std::printf("%s\n", report.dump(2).c_str());
    if (!flags_.json.empty()) std::ofstream(flags_.json) << report.dump(2) << "\n";
    for (const auto& lines : {quiet.failures(), busy.failures(), mixed, wrong_}) {
      for (const std::string& line : lines) std::fprintf(stderr, "real_soak: %s\n", line.c_str());
    }
    const bool good = quiet.failures().empty() && busy.failures().empty() && mixed.empty() && wrong_.empty() && busy.answers() > 0;
    return good ? 0 : 1;
  }

  const Flags flags_;
  Admin admin_;
  std::mt19937 random_;
  RssWatch rss_;  // of the server
  std::vector<BrokenArtifact> broken_;
  std::string router_;  // the stable one's name
  Content present_;
  uint64_t swaps_ = 0, unchanged_ = 0, refused_ = 0;
  std::map<std::string, Content> contents_;  // by snapshot generation
  std::map<std::string, std::vector<double>> step_ms_;
  std::map<std::string, std::string> reasons_;
  std::vector<std::string> wrong_;
};

}  // namespace
}  // namespace switchyard::soak

int main(int argc, char** argv) {
  switchyard::soak::Flags flags;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--server") flags.server = value;
    if (flag == "--admin") flags.admin = value;
    if (flag == "--broken") flags.broken = value;
    if (flag == "--json") flags.json = value;
    if (flag == "--sets") flags.sets = std::atoi(value.c_str());
    if (flag == "--clients") flags.clients = std::atoi(value.c_str());
    if (flag == "--swaps") flags.swaps = std::strtoull(value.c_str(), nullptr, 10);
    if (flag == "--pause-ms") flags.pause_ms = std::atoi(value.c_str());
    if (flag == "--pid") flags.pid = value;
    if (flag == "--seed") flags.seed = static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
    if (flag == "--quiet-seconds") flags.quiet_seconds = std::atof(value.c_str());
  }
  if (flags.server.empty() || flags.admin.empty() || flags.sets < 1) {
    std::fprintf(stderr,
                 "usage: real_soak --server HOST:PORT --admin HOST:PORT [--broken FILE] [--sets N] [--swaps N] [--clients N] [--seed N] "
                 "[--quiet-seconds S] [--pause-ms MS] [--pid N] [--json FILE]\n");
    return 2;
  }
  return switchyard::soak::Soak(flags).Run();
}
