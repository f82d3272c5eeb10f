// The admin port: calls, their errors, waiting; over fake artifacts.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <thread>

#include "absl/synchronization/notification.h"
#include "engine/artifact/sha256.h"
#include "server/admin_server.h"
#include "server/administration.h"
#include "server/server_options.h"
#include "switchyard/v1/admin.grpc.pb.h"
#include "tests/testing/fake_model_runner.h"
#include "tests/testing/fake_snapshot_builder.h"
#include "tests/testing/files.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class AdminTest : public ::testing::Test {
 protected:
  AdminTest() {
    WriteFakeExpert(dir_.File("root/law-1"), "law1", 100);
    WriteFakeExpert(dir_.File("root/law-2"), "law2", 100);
    WriteFakeRouter(dir_.File("root/router-1"), "r1", {{"law", "law1"}, {"zero", "zero"}});
    CatalogOptions options;
    options.artifact_root = dir_.File("root");
    CatalogContent initial;
    initial.experts = {{"law", "law-1", ""}, {"zero", "", ""}};
    initial.routers = {{"one", "router-1", ""}};
    initial.stable = {"one", 0};
    catalog_ = Catalog::Create(options, &builder_, initial, [](ServingSet) {}).value();
    engine_ = Engine::Create({}, &runner_).value();
    server_ = AdminServer::Start({.address = "127.0.0.1:0", .reflection = false}, *catalog_, *engine_, nullptr).value();
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    stub_ = v1::Admin::NewStub(
        grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials(), arguments));
  }

  static v1::ApplyRequest Load(const std::string& name, const std::string& directory, bool replace = false) {
    v1::ApplyRequest request;
    v1::LoadChange* load = request.add_changes()->mutable_load();
    load->set_kind(v1::ARTIFACT_KIND_EXPERT);
    load->set_name(name);
    load->set_directory(directory);
    load->set_replace(replace);
    return request;
  }
  grpc::Status Apply(const v1::ApplyRequest& request, v1::Operation* operation) {
    grpc::ClientContext context;
    return stub_->Apply(&context, request, operation);
  }
  v1::CatalogState List() {
    grpc::ClientContext context;
    v1::CatalogState state;
    EXPECT_TRUE(stub_->List(&context, {}, &state).ok());
    return state;
  }

  TempDir dir_;
  FakeSnapshotBuilder builder_;
  FakeModelRunner runner_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<AdminServer> server_;
  std::unique_ptr<v1::Admin::Stub> stub_;
};

TEST_F(AdminTest, AnApplyAnswersWhenItIsRoutable) {
  v1::Operation operation;
  ASSERT_TRUE(Apply(Load("law", "law-2", true), &operation).ok());
  EXPECT_EQ(operation.state(), v1::Operation::STATE_SUCCEEDED);
  EXPECT_TRUE(operation.changed());
  EXPECT_EQ(operation.revision(), 2u);
  ASSERT_EQ(operation.retired_size(), 1);
  EXPECT_EQ(operation.retired(0).generation(), "law1");
  ASSERT_EQ(operation.notes_size(), 1);
  EXPECT_THAT(operation.notes(0), HasSubstr("masked until they are served: law (law1)"));
  const v1::CatalogState state = List();
  EXPECT_EQ(state.experts(0).generation(), "law2");
  EXPECT_EQ(state.history_size(), 1);
  EXPECT_FALSE(state.routers(0).bound(0).served());
  EXPECT_EQ(state.roles(0).role(), v1::ROUTER_ROLE_STABLE);
}

TEST_F(AdminTest, AFailedOperationNamesItsStepAndTheCallSucceeds) {
  v1::Operation operation;
  ASSERT_TRUE(Apply(Load("x", "nowhere"), &operation).ok());
  EXPECT_EQ(operation.state(), v1::Operation::STATE_FAILED);
  EXPECT_EQ(operation.error().code(), static_cast<int>(grpc::NOT_FOUND));
  EXPECT_EQ(operation.error().step(), "plan");
  EXPECT_THAT(operation.error().message(), HasSubstr("nowhere"));
  EXPECT_EQ(List().revision(), 1u);
}

TEST_F(AdminTest, AnAnswerMayComeBeforeTheEndAndTheOperationIsFollowed) {
  absl::Notification go;
  builder_.before_load = [&] { go.WaitForNotification(); };
  v1::ApplyRequest request = Load("law", "law-2", true);
  request.set_wait_ms(0);
  v1::Operation operation;
  ASSERT_TRUE(Apply(request, &operation).ok());
  EXPECT_LT(operation.state(), v1::Operation::STATE_SUCCEEDED);
  go.Notify();
  v1::GetOperationRequest follow;
  follow.set_id(operation.id());
  follow.set_wait_ms(60000);
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetOperation(&context, follow, &operation).ok());
  EXPECT_EQ(operation.state(), v1::Operation::STATE_SUCCEEDED);
}

TEST_F(AdminTest, WhatNoStateCouldMeetIsRefusedByTheCallItself) {
  v1::Operation operation;
  EXPECT_EQ(Apply({}, &operation).error_code(), grpc::INVALID_ARGUMENT);
  v1::ApplyRequest request = Load("x", "/etc");
  EXPECT_EQ(Apply(request, &operation).error_code(), grpc::INVALID_ARGUMENT);
  request = Load("x", "law-2");
  request.mutable_changes(0)->mutable_load()->clear_kind();
  const grpc::Status status = Apply(request, &operation);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("changes[0]: kind"));
  request.Clear();
  request.add_changes();
  EXPECT_EQ(Apply(request, &operation).error_code(), grpc::INVALID_ARGUMENT);
  request.mutable_changes(0)->mutable_role()->set_router("one");
  EXPECT_EQ(Apply(request, &operation).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(AdminTest, EveryKindOfChangeArrives) {
  v1::ApplyRequest request = Load("next", "law-2");
  v1::AliasChange* alias = request.add_changes()->mutable_alias();
  alias->set_kind(v1::ARTIFACT_KIND_EXPERT);
  alias->set_name("law");
  alias->set_target("next");
  alias->set_expected_generation("law1");
  v1::UnloadChange* unload = request.add_changes()->mutable_unload();
  unload->set_kind(v1::ARTIFACT_KIND_EXPERT);
  unload->set_name("next");
  v1::RoleChange* role = request.add_changes()->mutable_role();
  role->set_role(v1::ROUTER_ROLE_CANARY);
  role->set_router("one");
  role->set_share(0.5);
  request.add_changes()->mutable_promote();
  request.set_expected_revision(1);
  request.set_allow_masking(true);
  v1::Operation operation;
  ASSERT_TRUE(Apply(request, &operation).ok());
  EXPECT_EQ(operation.state(), v1::Operation::STATE_SUCCEEDED) << operation.error().message();
  EXPECT_EQ(List().experts(0).generation(), "law2");
  request.Clear();
  request.add_changes()->mutable_roll_back()->set_revision(1);
  ASSERT_TRUE(Apply(request, &operation).ok());
  EXPECT_EQ(operation.state(), v1::Operation::STATE_SUCCEEDED) << operation.error().message();
  EXPECT_EQ(List().experts(0).generation(), "law1");
  request.set_expected_revision(1);
  ASSERT_TRUE(Apply(request, &operation).ok());
  EXPECT_EQ(operation.error().code(), static_cast<int>(grpc::FAILED_PRECONDITION));
}

TEST_F(AdminTest, OneArtifactOneOperationAndAllOperationsCanBeAskedFor) {
  v1::DescribeRequest describe;
  describe.set_kind(v1::ARTIFACT_KIND_ROUTER);
  describe.set_name("one");
  v1::Artifact artifact;
  grpc::ClientContext first;
  ASSERT_TRUE(stub_->Describe(&first, describe, &artifact).ok());
  EXPECT_EQ(artifact.bound_size(), 2);
  EXPECT_EQ(artifact.roles(0), v1::ROUTER_ROLE_STABLE);
  describe.set_name("none");
  grpc::ClientContext second;
  const grpc::Status missing = stub_->Describe(&second, describe, &artifact);
  EXPECT_EQ(missing.error_code(), grpc::NOT_FOUND);
  EXPECT_THAT(missing.error_message(), HasSubstr("there are: one"));
  v1::Operation operation;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Apply(Load("x", "nowhere"), &operation).ok());
  v1::ListOperationsRequest list;
  list.set_limit(2);
  v1::ListOperationsResponse operations;
  grpc::ClientContext third;
  ASSERT_TRUE(stub_->ListOperations(&third, list, &operations).ok());
  ASSERT_EQ(operations.operations_size(), 2);
  EXPECT_EQ(operations.operations(0).id(), 3u);
  v1::GetOperationRequest get;
  get.set_id(99);
  grpc::ClientContext fourth;
  EXPECT_EQ(stub_->GetOperation(&fourth, get, &operation).error_code(), grpc::NOT_FOUND);
  v1::Utilisation utilisation;
  grpc::ClientContext fifth;
  ASSERT_TRUE(stub_->GetUtilisation(&fifth, {}, &utilisation).ok());
  EXPECT_FALSE(utilisation.snapshot().empty());
  EXPECT_GT(utilisation.kv_blocks_total(), 0);
}

TEST_F(AdminTest, PlainTextStaysOnThisMachine) {
  for (const char* address : {"0.0.0.0:0", "[::]:0", "10.0.0.1:0", "example.org:0"}) {
    EXPECT_EQ(AdminServer::Start({.address = address, .reflection = false}, *catalog_, *engine_, nullptr).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
}

// The token's hash is in the file, the token with the caller; the role is what counts.
TEST_F(AdminTest, TokensNeedTheRoleAdmin) {
  const std::string admin = "an-administrator-of-this-server", user = "somebody-who-only-asks-questions";
  const auto entry = [](const std::string& name, const std::string& token, const std::string& role) {
    return R"({"name":")" + name + R"(","sha256":")" + Sha256Hex(token) + R"(","roles":[")" + role + R"("]})";
  };
  std::ofstream(dir_.File("tokens.json")) << R"({"tokens":[)" << entry("root", admin, "admin") << "," << entry("user", user, "infer")
                                          << "]}";
  const auto server =
      AdminServer::Start({.address = "127.0.0.1:0", .tokens = dir_.File("tokens.json"), .reflection = false}, *catalog_, *engine_, nullptr);
  ASSERT_TRUE(server.ok()) << server.status();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto stub = v1::Admin::NewStub(
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string((*server)->port()), grpc::InsecureChannelCredentials(), arguments));
  const auto codes = [&](const std::string& token) {
    std::vector<grpc::StatusCode> found;
    const auto context = [&] {
      auto made = std::make_unique<grpc::ClientContext>();
      if (!token.empty()) made->AddMetadata("authorization", "Bearer " + token);
      return made;
    };
    v1::CatalogState state;
    v1::Operation operation;
    v1::Artifact artifact;
    v1::ListOperationsResponse operations;
    v1::Utilisation utilisation;
    found.push_back(stub->List(context().get(), {}, &state).error_code());
    found.push_back(stub->Apply(context().get(), Load("med", "nowhere"), &operation).error_code());
    found.push_back(stub->Describe(context().get(), {}, &artifact).error_code());
    found.push_back(stub->GetOperation(context().get(), {}, &operation).error_code());
    found.push_back(stub->ListOperations(context().get(), {}, &operations).error_code());
    found.push_back(stub->GetUtilisation(context().get(), {}, &utilisation).error_code());
    return found;
  };
  EXPECT_THAT(codes(""), ::testing::Each(grpc::UNAUTHENTICATED));
  EXPECT_THAT(codes("not-a-token-of-this-server"), ::testing::Each(grpc::UNAUTHENTICATED));
  EXPECT_THAT(codes(user), ::testing::Each(grpc::PERMISSION_DENIED));
  const auto allowed = codes(admin);
  EXPECT_EQ(allowed[0], grpc::OK);
  EXPECT_THAT(allowed, ::testing::Each(::testing::AllOf(::testing::Ne(grpc::UNAUTHENTICATED), ::testing::Ne(grpc::PERMISSION_DENIED))));
}

TEST_F(AdminTest, AShadowIsARoleLikeAnother) {
  v1::ApplyRequest request;
  v1::RoleChange* role = request.add_changes()->mutable_role();
  role->set_role(v1::ROUTER_ROLE_SHADOW);
  role->set_router("one");
  role->set_share(0.25);
  v1::Operation operation;
  ASSERT_TRUE(Apply(request, &operation).ok());
  EXPECT_EQ(operation.state(), v1::Operation::STATE_SUCCEEDED) << operation.error().message();
  const v1::CatalogState state = List();
  ASSERT_EQ(state.roles_size(), 2);
  EXPECT_EQ(state.roles(1).role(), v1::ROUTER_ROLE_SHADOW);
  EXPECT_EQ(state.roles(1).share(), 0.25);
  EXPECT_FALSE(state.roles(1).has_divergence()) << "nobody measures here";
}

class AdministrationTest : public ::testing::Test {
 protected:
  AdministrationTest() {
    WriteFakeExpert(dir_.File("root/law-1"), "law1", 100);
    WriteFakeExpert(dir_.File("root/med-1"), "med1", 100);
    WriteFakeRouter(dir_.File("elsewhere"), "r1", {{"law", "law1"}, {"zero", "zero"}});
    options_.runner.experts = {{"law", dir_.File("root/law-1")}, {"zero", ""}};
    options_.runner.router_directory = dir_.File("elsewhere");
    options_.catalog.artifact_root = dir_.File("root");
    options_.catalog.state_file = dir_.File("state.json");
    engine_ = Engine::Create({}, &runner_).value();
    builder_.like_ = engine_->snapshot()->info();
  }
  StatusOr<std::unique_ptr<Administration>> Start() {
    return Administration::Start(options_, &builder_, engine_.get(),
                                 [this](ServingSet set) { generation_ = set.stable->info().generation; });
  }
  TempDir dir_;
  ServerOptions options_;
  FakeSnapshotBuilder builder_;
  FakeModelRunner runner_;
  std::unique_ptr<Engine> engine_;
  std::string generation_;
};

// The whole way: a rival is measured on requests, crosses its bound, and an operation takes its role away.
TEST_F(AdministrationTest, ARivalBeyondItsBoundLosesItsRoleByItself) {
  WriteFakeRouter(dir_.File("root/router-2"), "r2", {{"law", "law1"}, {"zero", "zero"}});
  options_.admin = "127.0.0.1:0";
  options_.divergence = {.max_best_changed = 0.05, .min_requests = 5};
  auto administration =
      Administration::Start(options_, &builder_, engine_.get(), [this](ServingSet set) { engine_->Publish(std::move(set)); });
  ASSERT_TRUE(administration.ok()) << administration.status();
  Catalog& catalog = (*administration)->catalog();
  const auto id = catalog.Submit(
      {{LoadChange{ArtifactKind::kRouter, "two", "router-2", false, {}}, RoleChange{RouterRole::kShadow, "two", 1}}, {}, false, false});
  ASSERT_TRUE(catalog.Wait(*id, Clock::Time::max())->error.ok()) << catalog.Wait(*id, Clock::Time::max())->error;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  // The role goes first, the count of roles taken away follows when the operation has ended.
  const auto taken_away = [&] {
    const auto totals = (*administration)->divergence().totals(RouterRole::kShadow);
    return totals && totals->taken_away > 0;
  };
  while (!taken_away() && std::chrono::steady_clock::now() < end) {
    RouteTask task;
    task.snapshot = engine_->serving()->stable;
    for (int i = 0; i < 20; ++i) task.tokens.push_back(2 + i);
    (*administration)->divergence().Answered(task);
    std::this_thread::yield();
  }
  EXPECT_EQ(catalog.Describe().content.shadow.router, "");
  EXPECT_EQ(catalog.Describe().content.stable.router, "elsewhere");
  const auto operations = catalog.ListOperations();
  EXPECT_THAT(operations.front().summary, HasSubstr("shadow none (automatic: another best expert in"));
  EXPECT_TRUE(taken_away());
  (*administration)->Stop();
  engine_->Stop();  // its tasks report to the administration
}

TEST_F(AdministrationTest, TheCommandLineMakesTheFirstContentAndTheStateFileTheNext) {
  auto first = Start();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)->admin_port(), 0) << "off unless asked for";
  EXPECT_EQ(generation_, "base-1/law=law1/zero=zero/router=r1");
  const auto id = (*first)->catalog().Submit({{LoadChange{ArtifactKind::kExpert, "med", "med-1", false, {}}}, {}, false, false});
  ASSERT_TRUE((*first)->catalog().Wait(*id, Clock::Time::max())->error.ok());
  first->reset();
  options_.runner.experts.clear();
  options_.runner.router_directory.clear();
  options_.admin = "127.0.0.1:0";
  auto second = Start();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_GT((*second)->admin_port(), 0);
  EXPECT_EQ(generation_, "base-1/law=law1/zero=zero/med=med1/router=r1");
}

TEST_F(AdministrationTest, ARouterIsCalledByItsOwnName) {
  auto administration = Start();
  ASSERT_TRUE(administration.ok()) << administration.status();
  EXPECT_EQ((*administration)->catalog().Describe().content.stable.router, "elsewhere");
}

TEST_F(AdministrationTest, WhatCannotBeLoadedEndsTheStart) {
  options_.runner.experts[0].directory = dir_.File("gone");
  EXPECT_EQ(Start().status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace switchyard
