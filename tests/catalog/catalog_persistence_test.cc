// The desired state: what survives a restart, a kill, and a disk that fails.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tests/catalog/catalog_fixture.h"

namespace switchyard {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// Each call can be made to fail, or to do only part of its work.
class FaultyFiles final : public FileSystem {
 public:
  enum class Fault { kNone, kOpenStaging, kWrite, kSyncFile, kRename, kTornRename, kSyncDirectory, kRead };

  int Open(const std::string& path, int flags, mode_t mode) override {
    const bool staging = path.find(".staging.") != std::string::npos;
    if (fault == Fault::kOpenStaging && staging) return Fail(EACCES);
    const int fd = FileSystem::Open(path, flags, mode);
    if ((flags & O_DIRECTORY) != 0) directory_fd_ = fd;
    return fd;
  }
  ssize_t Read(int fd, void* to, size_t bytes) override {
    if (fault == Fault::kRead) return Fail(EIO);
    return FileSystem::Read(fd, to, std::min<size_t>(bytes, 7));
  }
  ssize_t Write(int fd, const void* from, size_t bytes) override {
    if (fault == Fault::kWrite && ++writes_ % 5 == 0) return Fail(ENOSPC);
    return FileSystem::Write(fd, from, std::min<size_t>(bytes, 11));
  }
  int Sync(int fd) override {
    if (fault == Fault::kSyncDirectory && fd == directory_fd_) return Fail(EIO);
    if (fault == Fault::kSyncFile && fd != directory_fd_) return Fail(EIO);
    return FileSystem::Sync(fd);
  }
  int Close(int fd) override {
    if (fd == directory_fd_) directory_fd_ = -1;
    return FileSystem::Close(fd);
  }
  int Rename(const std::string& from, const std::string& to) override {
    if (fault == Fault::kRename) return Fail(EIO);
    if (fault == Fault::kTornRename) {  // a file system that is not atomic: half of the new file is there
      std::filesystem::resize_file(from, std::filesystem::file_size(from) / 2);
      FileSystem::Rename(from, to);
      return Fail(EIO);
    }
    return FileSystem::Rename(from, to);
  }

  std::atomic<Fault> fault{Fault::kNone};

 private:
  static int Fail(int error) {
    errno = error;
    return -1;
  }
  int directory_fd_ = -1;
  int writes_ = 0;
};

class CatalogPersistenceTest : public CatalogTest {
 protected:
  CatalogPersistenceTest() {
    options_.state_file = StateFile();
    options_.files = &files_;
  }
  FaultyFiles files_;
};

TEST_F(CatalogPersistenceTest, TheStateSurvivesARestartWithItsHistory) {
  Start();
  EXPECT_EQ(
      Do({{Load("law", "law-2", true), LoadRouter("two", "router-2"), RoleChange{RouterRole::kStable, "two", 0}}, {}, false, false}).state,
      OperationState::kSucceeded);
  EXPECT_EQ(Do(Of(RoleChange{RouterRole::kCanary, "one", 0.5})).state, OperationState::kFailed) << "law1 is not served";
  const std::string generation = set().stable->info().generation;
  Start();  // another one; Initial() is not asked any more
  EXPECT_EQ(set().stable->info().generation, generation);
  EXPECT_EQ(set().revision, 2u);
  EXPECT_EQ(Do(Of(RollBackChange{})).state, OperationState::kSucceeded);
  EXPECT_EQ(set().stable->info().router_generation, "r1");
}

TEST_F(CatalogPersistenceTest, TheStateIsOnDiskBeforeItIsPublished) {
  std::vector<std::pair<uint64_t, uint64_t>> seen;  // published, on disk
  auto catalog = Catalog::Create(options_, &builder_, Initial(), [&](ServingSet set) {
    seen.emplace_back(set.revision, ReadState(*FileSystem::Real(), StateFile())->revision);
  });
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  catalog_ = *std::move(catalog);
  Do(Of(Load("med", "med-1")));
  catalog_->Stop();
  EXPECT_THAT(seen, ::testing::ElementsAre(std::pair{1u, 1u}, std::pair{2u, 2u}));
}

TEST_F(CatalogPersistenceTest, AFailingDiskRefusesTheChangeAndKeepsTheOldState) {
  Start();
  using Fault = FaultyFiles::Fault;
  const std::string before = ReadFile(StateFile());
  for (const Fault fault : {Fault::kOpenStaging, Fault::kWrite, Fault::kSyncFile, Fault::kRename, Fault::kSyncDirectory}) {
    SCOPED_TRACE(static_cast<int>(fault));
    files_.fault = fault;
    const Operation operation = Do(Of(Load("med", "med-1")));
    files_.fault = Fault::kNone;
    EXPECT_EQ(operation.state, OperationState::kFailed);
    EXPECT_STREQ(StepName(operation.step), "persist");
    EXPECT_EQ(published(), 1);
    EXPECT_EQ(ReadFile(StateFile()), before);
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(StateFile()).parent_path())) {
      EXPECT_THAT(entry.path().filename().string(), ::testing::Not(HasSubstr("staging")));
    }
  }
  EXPECT_EQ(Do(Of(Load("med", "med-1"))).state, OperationState::kSucceeded) << "the disk is well again";
}

TEST_F(CatalogPersistenceTest, ATornFileIsNamedInTheErrorAndRefusedAtTheNextStart) {
  Start();
  files_.fault = FaultyFiles::Fault::kTornRename;
  const Operation operation = Do(Of(Load("med", "med-1")));
  EXPECT_THAT(std::string(Message(operation.error)), HasSubstr("the file may hold the refused revision 2"));
  EXPECT_EQ(published(), 1);
  files_.fault = FaultyFiles::Fault::kNone;
  const Status status = TryStart();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("restore the file, or move it away"));
}

TEST_F(CatalogPersistenceTest, AStateThatCannotBeReadEndsTheStart) {
  Start();
  files_.fault = FaultyFiles::Fault::kRead;
  EXPECT_EQ(TryStart().code(), absl::StatusCode::kDataLoss);
}

TEST_F(CatalogPersistenceTest, WhatNoLongerLoadsEndsAStrictStartAndIsLeftOutOtherwise) {
  Start();
  EXPECT_EQ(Do(Of(Load("med", "med-1"))).state, OperationState::kSucceeded);
  std::filesystem::remove_all(Root("med-1"));
  WriteFakeExpert(Root("code-1"), "code1", 200, "load_error 15 not finite");
  EXPECT_EQ(TryStart().code(), absl::StatusCode::kNotFound);
  options_.state_policy = StatePolicy::kServe;
  Start();
  EXPECT_EQ(set().stable->info().generation, "base-1/law=law1/zero=zero/router=r1");
  const CatalogView view = catalog_->Describe();
  EXPECT_THAT(view.problems, Contains(HasSubstr("expert \"med\"")));
  EXPECT_THAT(view.problems, Contains(HasSubstr("not finite")));
  EXPECT_THAT(view.role_notes, Contains(HasSubstr("masked until they are served: code (code1)")));
  EXPECT_EQ(ReadState(*FileSystem::Real(), StateFile())->content.experts.size(), 4u) << "the wish is kept until the next change";
}

TEST_F(CatalogPersistenceTest, AStateOfAnotherBaseIsRefusedNamingBoth) {
  Start();
  builder_.base_ = "base-2";
  const Status status = TryStart();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(status)), ::testing::AllOf(HasSubstr("base-1"), HasSubstr("base-2")));
}

// Ends the child while it swaps as fast as it can; whatever it had published must be in the file.
TEST_F(CatalogPersistenceTest, AKillAtAnyMomentLosesNothingPublished) {
  for (int round = 0; round < 12; ++round) {
    int pipe_fds[2];
    ASSERT_EQ(pipe(pipe_fds), 0);
    const pid_t child = fork();
    if (child == 0) {
      auto catalog = Catalog::Create(options_, &builder_, Initial(), [&](ServingSet set) {
        if (write(pipe_fds[1], &set.revision, sizeof(set.revision)) < 0) _exit(1);
      });
      if (!catalog.ok()) _exit(2);
      for (int i = 0;; ++i) {
        const auto id = (*catalog)->Submit(Of(Load("law", i % 2 == 0 ? "law-2" : "law-1", true)));
        if (!id.ok() || !(*catalog)->Wait(*id, Clock::Time::max()).ok()) _exit(3);
      }
    }
    close(pipe_fds[1]);
    uint64_t published = 0;
    for (int i = 0; i < 3 + 7 * round; ++i)
      ASSERT_EQ(read(pipe_fds[0], &published, sizeof(published)), static_cast<ssize_t>(sizeof(published)));
    kill(child, SIGKILL);
    int ended = 0;
    waitpid(child, &ended, 0);
    for (uint64_t more; read(pipe_fds[0], &more, sizeof(more)) == sizeof(more);) published = more;
    close(pipe_fds[0]);
    EXPECT_TRUE(WIFSIGNALED(ended)) << "the child ended by itself: " << ended;
    const auto state = ReadState(*FileSystem::Real(), StateFile());
    ASSERT_TRUE(state.ok()) << state.status();
    EXPECT_GE(state->revision, published);
    EXPECT_LE(state->revision, published + 1) << "at most the one that was about to be published";
  }
}

}  // namespace
}  // namespace switchyard
