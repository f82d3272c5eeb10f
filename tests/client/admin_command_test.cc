// `switchyard admin` and `switchyard top`, from their arguments to what they print, against an admin service in this process.
#include <mutex>

#include "client/command_line.h"
#include "client/top_view.h"
#include "gmock/gmock.h"
#include "grpcpp/server_builder.h"
#include "nlohmann/json.hpp"
#include "switchyard/v1/admin.grpc.pb.h"
#include "tests/client/client_testing.h"

namespace switchyard::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Remembers what it is asked; answers what it is told.
class FakeAdmin final : public v1::Admin::Service {
 public:
  FakeAdmin() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address = "127.0.0.1:" + std::to_string(port);
    operation.set_id(7);
    operation.set_summary("load expert law");
    operation.set_state(v1::Operation::STATE_SUCCEEDED);
    operation.set_changed(true);
    operation.set_revision(3);
    operation.add_notes("router \"one\" (stable) was made with [law], served are [law]: they agree");
    v1::Artifact* law = state.add_experts();
    law->set_kind(v1::ARTIFACT_KIND_EXPERT);
    law->set_name("law");
    law->set_generation("0123456789abcdef0123");
    law->set_bytes(3 << 20);
    v1::Artifact* zero = state.add_experts();
    zero->set_name("zero");
    zero->set_is_zero(true);
    v1::Artifact* one = state.add_routers();
    one->set_kind(v1::ARTIFACT_KIND_ROUTER);
    one->set_name("one");
    one->set_top_k(2);
    one->set_router_kind("linear");
    one->add_roles(v1::ROUTER_ROLE_STABLE);
    v1::Artifact::BoundExpert* bound = one->add_bound();
    bound->set_name("law");
    bound->set_served(false);
    v1::CatalogState::Role* role = state.add_roles();
    role->set_role(v1::ROUTER_ROLE_STABLE);
    role->set_router("one");
    state.set_revision(3);
    state.add_problems("expert \"med\": gone");
    utilisation = Counts(10, 30);
  }
  ~FakeAdmin() override { server_->Shutdown(); }

  // Two layers: all to law, and law and zero as given.
  static v1::Utilisation Counts(uint64_t law, uint64_t zero) {
    v1::Utilisation counts;
    counts.set_snapshot("5a11ab1e00000000");
    for (const char* name : {"law", "zero"}) counts.add_experts(name);
    for (int l = 0; l < 2; ++l) {
      v1::Utilisation::Layer* layer = counts.add_layers();
      for (const uint64_t n : {l == 0 ? law + zero : law, l == 0 ? 0 : zero}) {
        layer->add_tokens(n);
        layer->add_weight(static_cast<double>(n));
      }
      layer->set_rows(law + zero);
      layer->set_entropy_rows(law + zero);
      layer->set_entropy_sum(0.5 * static_cast<double>(law + zero));
    }
    counts.set_generated_tokens(law);
    counts.set_steps(law);
    return counts;
  }

  grpc::Status Apply(grpc::ServerContext*, const v1::ApplyRequest* request, v1::Operation* response) override {
    std::lock_guard lock(mutex_);
    last = *request;
    *response = operation;
    return answer;
  }
  grpc::Status List(grpc::ServerContext*, const v1::ListRequest*, v1::CatalogState* response) override {
    *response = state;
    return grpc::Status::OK;
  }
  grpc::Status Describe(grpc::ServerContext*, const v1::DescribeRequest* request, v1::Artifact* response) override {
    if (request->kind() == v1::ARTIFACT_KIND_ROUTER && request->name() == "one") {
      *response = state.routers(0);
      return grpc::Status::OK;
    }
    return {grpc::NOT_FOUND, "no such thing; there are: one"};
  }
  grpc::Status GetOperation(grpc::ServerContext*, const v1::GetOperationRequest* request, v1::Operation* response) override {
    *response = operation;
    response->set_id(request->id());
    return grpc::Status::OK;
  }
  grpc::Status ListOperations(grpc::ServerContext*, const v1::ListOperationsRequest*, v1::ListOperationsResponse* response) override {
    *response->add_operations() = operation;
    return grpc::Status::OK;
  }
  grpc::Status GetUtilisation(grpc::ServerContext*, const v1::GetUtilisationRequest*, v1::Utilisation* response) override {
    *response = utilisation;
    utilisation = Counts(40, 30);  // what the next look finds
    return grpc::Status::OK;
  }

  // Set and read while no call is under way.
  std::string address;
  v1::ApplyRequest last;
  v1::Operation operation;
  v1::CatalogState state;
  v1::Utilisation utilisation;
  grpc::Status answer;

 private:
  std::mutex mutex_;
  std::unique_ptr<grpc::Server> server_;
};

class AdminCommandTest : public ::testing::Test {
 protected:
  ExitCode Run(std::vector<std::string> arguments) {
    std::istringstream in;
    terminal_.out.str("");
    terminal_.err.str("");
    arguments.insert(arguments.end(), {"--server", admin_.address});
    CommandEnvironment environment{in, terminal_.terminal, wait_.Policy(0)};
    return RunCommandLine(std::move(arguments), environment);
  }
  std::string out() const { return terminal_.out.str(); }
  std::string err() const { return terminal_.err.str(); }

  FakeAdmin admin_;
  FakeWait wait_;
  StringTerminal terminal_;
};

TEST_F(AdminCommandTest, ALoadSendsEverythingAsOneRequest) {
  EXPECT_EQ(Run({"admin", "load", "--expert", "law=law-2", "--zero", "zero", "--router", "two=r/2", "--role", "canary", "--share", "0.1",
                 "--expect-revision", "2", "--allow-masking", "--wait", "5"}),
            kExitOk);
  ASSERT_EQ(admin_.last.changes_size(), 4);
  EXPECT_EQ(admin_.last.changes(0).load().name(), "law");
  EXPECT_EQ(admin_.last.changes(0).load().directory(), "law-2");
  EXPECT_FALSE(admin_.last.changes(0).load().replace());
  EXPECT_EQ(admin_.last.changes(1).load().directory(), "");
  EXPECT_EQ(admin_.last.changes(2).load().kind(), v1::ARTIFACT_KIND_ROUTER);
  EXPECT_EQ(admin_.last.changes(3).role().router(), "two");
  EXPECT_EQ(admin_.last.changes(3).role().share(), 0.1);
  EXPECT_EQ(admin_.last.expected_revision(), 2u);
  EXPECT_TRUE(admin_.last.allow_masking());
  EXPECT_EQ(admin_.last.wait_ms(), 5000u);
  EXPECT_THAT(out(), HasSubstr("done: routable"));
  EXPECT_THAT(out(), HasSubstr("they agree"));
}

TEST_F(AdminCommandTest, TheOtherChangesSendWhatTheySay) {
  EXPECT_EQ(Run({"admin", "replace", "--expert", "law=law-3", "--expect-generation", "abc"}), kExitOk);
  EXPECT_TRUE(admin_.last.changes(0).load().replace());
  EXPECT_EQ(admin_.last.changes(0).load().expected_generation(), "abc");
  EXPECT_EQ(Run({"admin", "replace", "--dry-run", "--expert", "law=law-3"}), kExitOk);
  EXPECT_TRUE(admin_.last.dry_run());
  EXPECT_TRUE(admin_.last.changes(0).load().replace());
  EXPECT_EQ(Run({"admin", "rollback", "--dry-run"}), kExitOk);
  EXPECT_TRUE(admin_.last.dry_run());
  EXPECT_TRUE(admin_.last.changes(0).has_roll_back());
  EXPECT_EQ(Run({"admin", "unload", "--expert", "law", "--router", "one"}), kExitOk);
  EXPECT_EQ(admin_.last.changes(1).unload().name(), "one");
  EXPECT_EQ(Run({"admin", "alias", "--expert", "law=next"}), kExitOk);
  EXPECT_EQ(admin_.last.changes(0).alias().target(), "next");
  EXPECT_EQ(Run({"admin", "stable", "one"}), kExitOk);
  EXPECT_EQ(admin_.last.changes(0).role().role(), v1::ROUTER_ROLE_STABLE);
  EXPECT_EQ(Run({"admin", "canary", "--off"}), kExitOk);
  EXPECT_EQ(admin_.last.changes(0).role().router(), "");
  EXPECT_EQ(Run({"admin", "promote"}), kExitOk);
  EXPECT_TRUE(admin_.last.changes(0).has_promote());
  EXPECT_EQ(Run({"admin", "rollback"}), kExitOk);
  EXPECT_FALSE(admin_.last.changes(0).roll_back().has_revision());
  EXPECT_EQ(Run({"admin", "rollback", "--to", "2"}), kExitOk);
  EXPECT_EQ(admin_.last.changes(0).roll_back().revision(), 2u);
}

TEST_F(AdminCommandTest, AFailedOperationExitsWithFourAndNamesItsStep) {
  admin_.operation.set_state(v1::Operation::STATE_FAILED);
  admin_.operation.mutable_error()->set_code(grpc::DATA_LOSS);
  admin_.operation.mutable_error()->set_step("read");
  admin_.operation.mutable_error()->set_message("lora_A: not finite");
  EXPECT_EQ(Run({"admin", "load", "--expert", "law=law-2"}), kExitRefused);
  EXPECT_THAT(out(), HasSubstr("failed at read: DATA_LOSS: lora_A: not finite"));
  EXPECT_THAT(out(), HasSubstr("served still"));
}

TEST_F(AdminCommandTest, AnOperationThatHasNotEndedSaysHowToFollowIt) {
  admin_.operation.set_state(v1::Operation::STATE_RUNNING);
  admin_.operation.set_step("read");
  EXPECT_EQ(Run({"admin", "load", "--expert", "law=law-2"}), kExitRefused);
  EXPECT_THAT(out(), HasSubstr("switchyard admin operation 7"));
  EXPECT_EQ(Run({"admin", "load", "--expert", "law=law-2", "--wait", "0"}), kExitOk);
  EXPECT_EQ(Run({"admin", "operation", "9", "--wait", "0"}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("operation 9"));
}

TEST_F(AdminCommandTest, ListDescribeAndOperationsShowTablesOrJson) {
  EXPECT_EQ(Run({"admin", "list"}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("revision 3"));
  EXPECT_THAT(out(), HasSubstr("0123456789ab"));
  EXPECT_THAT(out(), HasSubstr("left out at the start: expert \"med\": gone"));
  EXPECT_EQ(Run({"admin", "list", "--json"}), kExitOk);
  EXPECT_EQ(nlohmann::json::parse(out())["revision"], "3");
  EXPECT_EQ(Run({"admin", "describe", "router", "one"}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("masked"));
  EXPECT_EQ(Run({"admin", "describe", "expert", "none"}), kExitRefused);
  EXPECT_THAT(err(), HasSubstr("there are: one"));
  EXPECT_EQ(Run({"admin", "operations"}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("load expert law"));
}

TEST_F(AdminCommandTest, WrongArgumentsExitWithTwoAndSayWhy) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"admin", "load"}, "nothing to load"},
      {{"admin", "load", "--expert", "law"}, "expected NAME=DIRECTORY, found \"law\""},
      {{"admin", "load", "--expert", "a=b", "--role", "stable"}, "exactly one --router"},
      {{"admin", "load", "--router", "a=b", "--role", "best"}, "found \"best\""},
      {{"admin", "load", "--router", "a=b", "--role", "canary"}, "--share"},
      {{"admin", "load", "--expert", "a=b", "--expert", "c=d", "--expect-generation", "x"}, "exactly one"},
      {{"admin", "unload"}, "nothing to unload"},
      {{"admin", "alias"}, "nothing to point"},
      {{"admin", "canary"}, "either a ROUTER or --off"},
      {{"admin", "canary", "one", "--off"}, "either a ROUTER or --off"},
      {{"admin", "describe", "thing", "x"}, "expert"},
      {{"top", "--interval", "0"}, "--interval"}};
  for (const auto& [arguments, message] : cases) {
    EXPECT_EQ(Run(arguments), kExitUsage) << message;
    EXPECT_THAT(err(), HasSubstr(message));
  }
}

TEST_F(AdminCommandTest, ARefusedCallAndAMissingServerAreNamed) {
  admin_.answer = {grpc::RESOURCE_EXHAUSTED, "16 operations are waiting already"};
  EXPECT_EQ(Run({"admin", "promote"}), kExitRefused);
  EXPECT_THAT(err(), HasSubstr("RESOURCE_EXHAUSTED: 16 operations"));
  std::string gone;
  { gone = FakeAdmin().address; }
  admin_.address = gone;
  EXPECT_EQ(Run({"admin", "list"}), kExitUnreachable);
  EXPECT_THAT(err(), HasSubstr("started with --admin"));
}

TEST_F(AdminCommandTest, TopShowsOneFrameSinceTheStartAsPlainText) {
  EXPECT_EQ(Run({"top", "--once"}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("since the start"));
  EXPECT_THAT(out(), HasSubstr("62.5 %")) << "law: mean of 100 % and 25 %";
  EXPECT_THAT(out(), HasSubstr("entropy 0.500 nats"));
  EXPECT_THAT(out(), HasSubstr("stable: one"));
  EXPECT_THAT(out(), Not(HasSubstr("\x1b"))) << "no escape sequences where nobody looks";
}

TEST_F(AdminCommandTest, TopComparesTwoLooks) {
  EXPECT_EQ(Run({"top", "--frames", "2", "--interval", "2"}), kExitOk);
  EXPECT_THAT(wait_.waits(), ::testing::ElementsAre(absl::Seconds(2)));
  const std::string second = out().substr(out().rfind("switchyard top"));
  EXPECT_THAT(second, HasSubstr("100.0 %")) << "between the looks everything went to law";
  EXPECT_THAT(second, HasSubstr("last "));
}

TEST(TopViewTest, CountersOfOtherExpertsAreNotSubtracted) {
  TopFrame frame;
  frame.before = FakeAdmin::Counts(40, 40);
  frame.before.set_experts(0, "code");
  frame.now = FakeAdmin::Counts(10, 30);
  frame.seconds = 1;
  EXPECT_THAT(TopView(frame, Style(false), 100), HasSubstr("since the start"));
}

}  // namespace
}  // namespace switchyard::client
