#include "engine/catalog/catalog.h"

#include <filesystem>
#include <fstream>

#include "absl/synchronization/notification.h"
#include "tests/catalog/catalog_fixture.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kFirst[] = "base-1/law=law1/code=code1/zero=zero/router=r1";

TEST_F(CatalogTest, AStartPublishesItsContentOnce) {
  Start();
  EXPECT_EQ(published(), 1);
  EXPECT_EQ(set().stable->info().generation, kFirst);
  EXPECT_EQ(set().revision, 1u);
  const CatalogView view = catalog_->Describe();
  EXPECT_EQ(view.content.experts[0].generation, "law1");
  EXPECT_EQ(view.resident_bytes, 100 + 200 + 5);
  EXPECT_THAT(view.role_notes, Contains(HasSubstr("they agree")));
}

TEST_F(CatalogTest, AStartIsRefusedWhenRouterAndExpertsDisagreeNamingBoth) {
  WriteFakeRouter(Root("router-1"), "r1", {{"law", "law1"}, {"zero", "zero"}});
  const Status status = TryStart();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(status)), AllOf(HasSubstr("[law (law1), zero]"), HasSubstr("[law (law1), code (code1), zero]")));
}

TEST_F(CatalogTest, ANewExpertIsServedAndTheNoteSaysWhoRoutesToIt) {
  Start();
  const Operation done = Do(Of(Load("med", "med-1")));
  EXPECT_EQ(done.state, OperationState::kSucceeded) << done.error;
  EXPECT_TRUE(done.changed);
  EXPECT_EQ(done.revision, 2u);
  EXPECT_EQ(done.load_bytes, 50);
  EXPECT_THAT(done.notes, Contains(HasSubstr("reached by name only, until a router names them: med (med1)")));
  EXPECT_EQ(set().stable->info().experts.size(), 4u);
}

TEST_F(CatalogTest, ASeparableRouterRoutesToANewExpertAtOnce) {
  WriteFakeRouter(Root("router-1"), "r1", {{"law", "law1"}, {"code", "code1"}, {"zero", "zero"}}, "separable 1");
  Start();
  const Operation added = Do(Of(Load("med", "med-1")));
  EXPECT_EQ(added.state, OperationState::kSucceeded) << added.error;
  EXPECT_THAT(added.notes, Contains(AllOf(HasSubstr("routed to by their own matrices: med (med1)"), Not(HasSubstr("by name only")),
                                          Not(HasSubstr("they agree")))));
  // The old one is masked; the new one under its name needs no router of its own.
  const Operation replaced = Do(Of(Load("law", "law-2", true)));
  EXPECT_EQ(replaced.state, OperationState::kSucceeded) << replaced.error;
  EXPECT_THAT(replaced.notes, Contains(AllOf(HasSubstr("masked until they are served: law (law1)"),
                                             HasSubstr("routed to by their own matrices: law (law2), med (med1)"))));
}

// The zero expert has no matrices to be scored by.
TEST_F(CatalogTest, ASeparableRouterWithoutZeroDoesNotRouteToIt) {
  WriteFakeRouter(Root("router-3"), "r3", {{"law", "law1"}, {"code", "code1"}}, "separable 1");
  Start();
  const Operation done = Do({{LoadRouter("three", "router-3"), RoleChange{RouterRole::kStable, "three", 0}}, {}, false, false});
  EXPECT_EQ(done.state, OperationState::kSucceeded) << done.error;
  EXPECT_THAT(done.notes, Contains(HasSubstr("reached by name only, until a router names them: zero")));
}

TEST_F(CatalogTest, LoadingTheSameContentAgainChangesNothing) {
  Start();
  WriteFakeExpert(Root("copy"), "law1", 100);
  const Operation done = Do(Of(Load("law", "copy")));
  EXPECT_EQ(done.state, OperationState::kSucceeded);
  EXPECT_FALSE(done.changed);
  EXPECT_EQ(done.revision, 1u);
  EXPECT_EQ(published(), 1);
}

TEST_F(CatalogTest, ExpertAndRouterAreSwappedTogetherInOnePublication) {
  Start();
  const Operation done = Do({{Load("law", "law-2", true), LoadRouter("two", "router-2"), RoleChange{RouterRole::kStable, "two", 0},
                              UnloadChange{ArtifactKind::kRouter, "one", {}}},
                             {},
                             false,
                             false});
  ASSERT_EQ(done.state, OperationState::kSucceeded) << done.error;
  EXPECT_EQ(published(), 2);
  EXPECT_EQ(set().stable->info().generation, "base-1/law=law2/code=code1/zero=zero/router=r2");
  EXPECT_THAT(done.notes, Contains(HasSubstr("they agree")));
  EXPECT_EQ(builder_.loads, 4 + 2) << "what did not change is not read again";
}

TEST_F(CatalogTest, ARetiredPartIsFreedAfterItsLastLeaseAndThatIsReported) {
  Start();
  const ServingSet running = set();
  const uint64_t id = Do(Of(Load("law", "law-2", true))).id;
  Operation operation = Finished(id);
  ASSERT_EQ(operation.retired.size(), 1u);
  EXPECT_EQ(operation.retired[0].generation, "law1");
  EXPECT_EQ(operation.retiring_bytes(), 100);
  EXPECT_EQ(catalog_->Describe().resident_bytes, 405) << "a part counts until its memory is back";
  const_cast<ServingSet&>(running) = {};
  operation = Freed(id);
  EXPECT_EQ(operation.freed_bytes(), 100);
  EXPECT_EQ(catalog_->Describe().resident_bytes, 305);
  EXPECT_EQ(*builder_.live_parts, 4);
}

TEST_F(CatalogTest, ARetiredPartThatIsWantedAgainIsNotReadAgain) {
  Start();
  const ServingSet running = set();
  const uint64_t first = Do(Of(Load("law", "law-2", true))).id;
  const int loads = builder_.loads;
  EXPECT_EQ(Do(Of(Load("law", "law-1", true))).state, OperationState::kSucceeded);
  EXPECT_EQ(builder_.loads, loads);
  EXPECT_THAT(Finished(first).retired, IsEmpty());
  EXPECT_EQ(set().stable->info().generation, kFirst);
}

TEST_F(CatalogTest, EveryFailingStepLeavesTheOldServingWithAnErrorOfItsOwn) {
  options_.budget = {.memory_bytes = 1000, .max_experts = 4, .max_routers = 2};
  WriteFakeExpert(Root("torn"), "x1", 10, "inspect_error 15 adapter_config.json: cut off");
  WriteFakeExpert(Root("nan"), "x2", 10, "load_error 15 lora_A: not finite");
  WriteFakeExpert(Root("huge"), "x3", 5000);
  WriteFakeRouter(Root("probe"), "p1", {{"law", "law1"}, {"code", "code1"}, {"zero", "zero"}},
                  "load_error 9 golden probe 3 took another route");
  WriteFakeRouter(Root("other-base"), "p2", {{"law", "law1"}, {"code", "code1"}, {"zero", "zero"}}, "base base-9");
  std::filesystem::create_directory_symlink("/etc", Root("escape"));
  Start();
  const Change stable_two = RoleChange{RouterRole::kStable, "two", 0};
  struct Case {
    std::vector<Change> changes;
    LoadStep step;
    absl::StatusCode code;
    const char* message;
  };
  using Code = absl::StatusCode;
  const Case cases[] = {
      {{Load("x", "nowhere")}, LoadStep::kPlan, Code::kNotFound, "nowhere"},
      {{Load("x", "../root/law-1")}, LoadStep::kPlan, Code::kInvalidArgument, "\"..\""},
      {{Load("x", "escape")}, LoadStep::kPlan, Code::kInvalidArgument, "below the artifact root"},
      {{Load("x", "torn")}, LoadStep::kPlan, Code::kDataLoss, "cut off"},
      {{Load("bad\nname", "med-1")}, LoadStep::kPlan, Code::kInvalidArgument, "control characters"},
      {{Load("law", "law-2")}, LoadStep::kPlan, Code::kAlreadyExists, "replace it"},
      {{Load("lex", "law-2", true)}, LoadStep::kPlan, Code::kNotFound, "there are: law, code, zero"},
      {{LoadChange{ArtifactKind::kExpert, "law", "law-2", true, "law9"}},
       LoadStep::kPlan,
       Code::kFailedPrecondition,
       "expected generation law9, found law1"},
      {{LoadChange{ArtifactKind::kExpert, "law", "law-2", true, ""}},
       LoadStep::kPlan,
       Code::kFailedPrecondition,
       "expected generation none"},
      {{UnloadChange{ArtifactKind::kExpert, "lex", {}}}, LoadStep::kPlan, Code::kNotFound, "lex"},
      {{UnloadChange{ArtifactKind::kRouter, "one", {}}}, LoadStep::kPlan, Code::kFailedPrecondition, "is stable"},
      {{UnloadChange{ArtifactKind::kExpert, "code", {}}},
       LoadStep::kCheck,
       Code::kFailedPrecondition,
       "masked until they are served: code (code1)"},
      {{LoadRouter("two", "router-2"), stable_two},
       LoadStep::kCheck,
       Code::kFailedPrecondition,
       "made with [law (law2), code (code1), zero]; served are [law (law1)"},
      {{stable_two}, LoadStep::kPlan, Code::kNotFound, "no router \"two\""},
      {{RoleChange{RouterRole::kCanary, "one", 1.5}}, LoadStep::kPlan, Code::kInvalidArgument, "share"},
      {{PromoteChange{}}, LoadStep::kPlan, Code::kFailedPrecondition, "no canary"},
      {{RollBackChange{}}, LoadStep::kPlan, Code::kNotFound, "known are: none"},
      {{Load("x", "huge")}, LoadStep::kReserve, Code::kResourceExhausted, "5000 bytes more are needed, 305 of 1000"},
      {{Load("x", "med-1"), Load("y", "law-2")}, LoadStep::kReserve, Code::kResourceExhausted, "at most 4 experts"},
      {{Load("x", "nan")}, LoadStep::kRead, Code::kDataLoss, "not finite"},
      {{LoadRouter("p", "probe")}, LoadStep::kProbe, Code::kFailedPrecondition, "golden probe 3"},
      {{LoadRouter("p", "other-base")}, LoadStep::kProbe, Code::kFailedPrecondition, "base-9"},
      {{Load("good", "med-1"), LoadRouter("p", "probe")}, LoadStep::kProbe, Code::kFailedPrecondition, "golden probe 3"},
  };
  for (const Case& c : cases) {
    const Operation operation = Do({c.changes, {}, false, false});
    SCOPED_TRACE(operation.summary + ": " + operation.error.ToString());
    EXPECT_EQ(operation.state, OperationState::kFailed);
    EXPECT_STREQ(StepName(operation.step), StepName(c.step));
    EXPECT_EQ(operation.error.code(), c.code);
    EXPECT_THAT(std::string(Message(operation.error)), HasSubstr(c.message));
    EXPECT_EQ(published(), 1);
    EXPECT_EQ(catalog_->Describe().revision, 1u);
  }
  while (catalog_->Describe().resident_bytes != 305) std::this_thread::yield();  // what a failed load had read is freed
}

TEST_F(CatalogTest, TheDiskBudgetCountsEveryFileOfEachDirectoryOnceBeforeWeightsAreRead) {
  const auto disk = [&](std::initializer_list<const char*> names) {
    int64_t bytes = 0;
    for (const char* name : names) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(Root(name)))
        bytes += entry.is_regular_file() ? entry.file_size() : 0;
    }
    return bytes;
  };
  std::filesystem::create_directories(Root("med-1") + "/logs");
  std::ofstream(Root("med-1") + "/logs/forgotten.bin") << std::string(1000, 'x');
  const int64_t initial = disk({"law-1", "code-1", "router-1"}), med = disk({"med-1"});
  ASSERT_GT(med, 1000);
  options_.budget.disk_bytes = initial + med - 1;
  Start();
  int loads = 0;
  builder_.before_load = [&] { ++loads; };
  for (const bool dry_run : {true, false}) {
    const Operation refused = Do({{Load("med", "med-1")}, {}, false, dry_run});
    EXPECT_EQ(refused.error.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_STREQ(StepName(refused.step), "reserve");
    EXPECT_THAT(std::string(Message(refused.error)),
                HasSubstr(absl::StrFormat("at most %d bytes in the directories of all experts and routers, this would make %d",
                                          initial + med - 1, initial + med)));
  }
  EXPECT_EQ(loads, 0);
  // Another name for what is loaded already takes no more room, and a directory that is gone takes none.
  EXPECT_EQ(Do(Of(Load("lex", "law-1"))).state, OperationState::kSucceeded);
  std::filesystem::remove_all(Root("code-1"));
  EXPECT_EQ(Do(Of(Load("med", "med-1"))).state, OperationState::kSucceeded);
}

TEST_F(CatalogTest, AFailedBindOrWarmLeavesTheOldServing) {
  bool fail_build = false, fail_warm = false;
  builder_.before_build = [&] { return fail_build ? Internal("no snapshot today") : OkStatus(); };
  options_.warm = [&](const ServingSet&) { return fail_warm ? Internal("cold") : OkStatus(); };
  Start();
  fail_build = true;
  Operation operation = Do(Of(Load("med", "med-1")));
  EXPECT_STREQ(StepName(operation.step), "bind");
  EXPECT_THAT(std::string(Message(operation.error)), HasSubstr("stable snapshot: no snapshot today"));
  fail_build = false;
  fail_warm = true;
  operation = Do(Of(Load("med", "med-1")));
  EXPECT_STREQ(StepName(operation.step), "warm");
  EXPECT_EQ(published(), 1);
  fail_warm = false;
  EXPECT_EQ(Do(Of(Load("med", "med-1"))).state, OperationState::kSucceeded);
}

TEST_F(CatalogTest, AnArtifactThatChangesBetweenInspectionAndLoadIsRefused) {
  Start();
  builder_.before_load = [&] { WriteFakeExpert(Root("med-1"), "med9", 50); };
  const Operation operation = Do(Of(Load("med", "med-1")));
  EXPECT_STREQ(StepName(operation.step), "read");
  EXPECT_THAT(std::string(Message(operation.error)), HasSubstr("expected generation med1, found med9"));
  EXPECT_EQ(published(), 1);
}

TEST_F(CatalogTest, TheExpectedRevisionIsComparedWhenItsTurnComes) {
  Start();
  absl::Notification entered, go;
  builder_.before_load = [&] {
    if (!entered.HasBeenNotified()) entered.Notify();
    go.WaitForNotification();
  };
  const auto first = catalog_->Submit({{Load("med", "med-1")}, 1, false, false});
  entered.WaitForNotification();
  const auto second = catalog_->Submit({{Load("law", "law-2", true)}, 1, false, false});
  go.Notify();
  EXPECT_EQ(Finished(*first).state, OperationState::kSucceeded);
  const Operation lost = Finished(*second);
  EXPECT_EQ(lost.error.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(lost.error)), HasSubstr("expected revision 1, found 2"));
}

TEST_F(CatalogTest, RetiredMemoryCountsAgainstTheBudgetUntilItIsFree) {
  options_.budget.memory_bytes = 420;
  Start();
  const ServingSet running = set();
  EXPECT_EQ(Do(Of(Load("law", "law-2", true))).state, OperationState::kSucceeded);
  const Operation refused = Do(Of(Load("med", "med-1")));
  EXPECT_EQ(refused.error.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(refused.error)), HasSubstr("405 of 420"));
  const_cast<ServingSet&>(running) = {};
  while (catalog_->Describe().resident_bytes > 305) std::this_thread::yield();
  EXPECT_EQ(Do(Of(Load("med", "med-1"))).state, OperationState::kSucceeded);
}

TEST_F(CatalogTest, ACanaryIsServedBesideTheStableOneThenPromotedAndRolledBack) {
  Start();
  WriteFakeRouter(Root("router-3"), "r3", {{"law", "law1"}, {"code", "code1"}, {"zero", "zero"}});
  Operation done = Do({{LoadRouter("three", "router-3"), RoleChange{RouterRole::kCanary, "three", 0.25}}, {}, false, false});
  ASSERT_EQ(done.state, OperationState::kSucceeded) << done.error;
  EXPECT_EQ(set().stable->info().router_generation, "r1");
  EXPECT_EQ(set().canary->info().router_generation, "r3");
  EXPECT_EQ(set().canary_share, 0.25);
  const auto canary = set().canary;
  EXPECT_EQ(Do(Of(PromoteChange{})).state, OperationState::kSucceeded);
  EXPECT_EQ(set().stable, canary) << "the very snapshot that was tried";
  EXPECT_EQ(set().canary, nullptr);
  EXPECT_EQ(Do(Of(RollBackChange{1})).state, OperationState::kSucceeded);
  EXPECT_EQ(set().stable->info().generation, kFirst);
  EXPECT_EQ(set().revision, 4u) << "a roll back is a new revision";
  EXPECT_EQ(catalog_->Describe().content.routers.size(), 1u);
}

TEST_F(CatalogTest, AShadowGetsItsShareAndCanBeTakenAway) {
  Start();
  EXPECT_EQ(Do(Of(RoleChange{RouterRole::kShadow, "one", 0.5})).state, OperationState::kSucceeded);
  EXPECT_EQ(set().shadow, set().stable);
  EXPECT_EQ(set().shadow_share, 0.5);
  EXPECT_EQ(Do(Of(RoleChange{RouterRole::kShadow, "", 0})).state, OperationState::kSucceeded);
  EXPECT_EQ(set().shadow, nullptr);
}

TEST_F(CatalogTest, MaskingMustBeAllowedForARouterWithoutAllItsExperts) {
  Start();
  ChangeRequest request{{LoadRouter("two", "router-2"), RoleChange{RouterRole::kStable, "two", 0}}, {}, true, false};
  const Operation done = Do(request);
  EXPECT_EQ(done.state, OperationState::kSucceeded) << done.error;
  EXPECT_THAT(done.notes, Contains(HasSubstr("masked until they are served: law (law2)")));
}

TEST_F(CatalogTest, ARollBackRestoresWhatWasServedMaskedAsItWas) {
  Start();
  ASSERT_EQ(Do(Of(Load("law", "law-2", true))).state, OperationState::kSucceeded);  // masks law under router-1
  ASSERT_EQ(Do({{LoadRouter("two", "router-2"), RoleChange{RouterRole::kStable, "two", 0}}, {}, false, false}).state,
            OperationState::kSucceeded);
  const Operation done = Do(Of(RollBackChange{}));
  EXPECT_EQ(done.state, OperationState::kSucceeded) << done.error;
  EXPECT_THAT(done.notes, Contains(HasSubstr("masked until they are served: law (law1)")));
}

TEST_F(CatalogTest, ARollBackIsRefusedWhenTheDirectoryHoldsSomethingElseNow) {
  Start();
  const uint64_t id = Do(Of(Load("law", "law-2", true))).id;
  Freed(id);
  WriteFakeExpert(Root("law-1"), "law7", 100);
  const Operation refused = Do(Of(RollBackChange{}));
  EXPECT_EQ(refused.error.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(refused.error)), HasSubstr("holds generation law7 now, expected law1"));
  EXPECT_EQ(set().stable->info().experts[0].generation, "law2");
}

TEST_F(CatalogTest, AnAliasPointsToWhatIsResidentWithoutReadingIt) {
  Start();
  EXPECT_EQ(Do(Of(Load("law-next", "law-2"))).state, OperationState::kSucceeded);
  const int loads = builder_.loads;
  const Operation done =
      Do({{AliasChange{ArtifactKind::kExpert, "law", "law-next", "law1"}, UnloadChange{ArtifactKind::kExpert, "law-next", {}}},
          {},
          false,
          false});
  EXPECT_EQ(done.state, OperationState::kSucceeded) << done.error;
  EXPECT_EQ(builder_.loads, loads);
  EXPECT_EQ(set().stable->info().experts[0].generation, "law2");
}

TEST_F(CatalogTest, ADryRunTellsBytesFitAndBothListsAndChangesNothing) {
  options_.budget.memory_bytes = 420;
  Start();
  Operation dry =
      Do({{LoadRouter("two", "router-2"), Load("law", "law-2", true), RoleChange{RouterRole::kStable, "two", 0}}, {}, false, true});
  EXPECT_EQ(dry.state, OperationState::kSucceeded) << dry.error;
  EXPECT_TRUE(dry.changed) << "it would change something";
  EXPECT_EQ(dry.load_bytes, 105);
  EXPECT_EQ(dry.resident_bytes, 305);
  EXPECT_EQ(dry.budget_bytes, 420);
  EXPECT_THAT(dry.notes, Contains(HasSubstr("made with [law (law2), code (code1), zero]; served are [law (law2), code (code1), zero]")));
  dry = Do({{Load("x", "law-2"), Load("y", "med-1")}, {}, false, true});
  EXPECT_EQ(dry.error.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(published(), 1);
  EXPECT_EQ(catalog_->Describe().resident_bytes, 305);
  EXPECT_EQ(builder_.loads, 4);
}

TEST_F(CatalogTest, AFullQueueRefusesAndAStopRefusesWhatWaits) {
  options_.max_queued = 1;
  options_.max_operations = 1 << 30;  // every refused submission below is one
  std::mutex mutex;
  std::map<uint64_t, absl::StatusCode> told;  // guarded by mutex
  options_.ended = [&](const Operation& operation) {
    EXPECT_TRUE(operation.finished());
    const std::lock_guard lock(mutex);
    EXPECT_TRUE(told.emplace(operation.id, operation.error.code()).second) << "told twice";
  };
  Start();
  absl::Notification entered, go;
  builder_.before_load = [&] {
    entered.Notify();
    go.WaitForNotification();
  };
  const auto running = catalog_->Submit(Of(Load("med", "med-1")));
  entered.WaitForNotification();
  ChangeRequest waits = Of(Load("law", "law-2", true));
  waits.requested_by = "somebody";
  Status waits_ended = OkStatus();
  waits.ended = [&](const Status& status) { waits_ended = status; };
  const auto waiting = catalog_->Submit(std::move(waits));
  ASSERT_TRUE(waiting.ok());
  EXPECT_EQ(catalog_->Submit(Of(PromoteChange{})).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(catalog_->Wait(*waiting, std::chrono::steady_clock::now())->finished()) << "a deadline ends the wait, not the operation";
  std::thread stopper([&] { catalog_->Stop(); });
  while (catalog_->Submit(Of(PromoteChange{})).status().code() != absl::StatusCode::kUnavailable) std::this_thread::yield();
  go.Notify();
  stopper.join();
  EXPECT_EQ(Finished(*running).state, OperationState::kSucceeded);
  EXPECT_EQ(Finished(*waiting).error.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Finished(*waiting).requested_by, "somebody");
  EXPECT_EQ(waits_ended.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(told.at(*running), absl::StatusCode::kOk);
  EXPECT_EQ(told.at(*waiting), absl::StatusCode::kUnavailable);
  EXPECT_EQ(told.at(*waiting + 1), absl::StatusCode::kResourceExhausted);
}

TEST_F(CatalogTest, OnlyTheLatestOperationsAreRemembered) {
  options_.max_operations = 3;
  Start();
  for (int i = 0; i < 5; ++i) Do(Of(PromoteChange{}));
  EXPECT_EQ(catalog_->ListOperations().size(), 3u);
  EXPECT_EQ(catalog_->GetOperation(1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(catalog_->GetOperation(5)->id, 5u);
  EXPECT_EQ(catalog_->Describe().totals.failed_by_step.at("plan"), 5u);
}

TEST_F(CatalogTest, LeasesMayOutliveTheCatalog) {
  Start();
  const ServingSet lease = set();
  DropLease();
  catalog_.reset();
  EXPECT_EQ(*builder_.live_parts, 4);
  const_cast<ServingSet&>(lease) = {};
  EXPECT_EQ(*builder_.live_parts, 0);
  EXPECT_EQ(*builder_.live_snapshots, 0);
}

}  // namespace
}  // namespace switchyard
