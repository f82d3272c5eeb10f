// A catalog over fake artifacts: two experts, zero, and a router made with them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/catalog/catalog.h"
#include "tests/testing/fake_snapshot_builder.h"
#include "tests/testing/files.h"

namespace switchyard {

class CatalogTest : public ::testing::Test {
 protected:
  CatalogTest() {
    WriteFakeExpert(Root("law-1"), "law1", 100);
    WriteFakeExpert(Root("law-2"), "law2", 100);
    WriteFakeExpert(Root("code-1"), "code1", 200);
    WriteFakeExpert(Root("med-1"), "med1", 50);
    WriteFakeRouter(Root("router-1"), "r1", {{"law", "law1"}, {"code", "code1"}, {"zero", "zero"}});
    WriteFakeRouter(Root("router-2"), "r2", {{"law", "law2"}, {"code", "code1"}, {"zero", "zero"}});
    options_.artifact_root = Root("");
  }
  std::string Root(const std::string& name) const { return dir_.File("root") + (name.empty() ? "" : "/" + name); }
  std::string StateFile() const { return dir_.File("state.json"); }

  static CatalogContent Initial() {
    CatalogContent content;
    content.experts = {{"law", "law-1", ""}, {"code", "code-1", ""}, {"zero", "", ""}};
    content.routers = {{"one", "router-1", ""}};
    content.stable = {"one", 0};
    return content;
  }

  Status TryStart() {
    catalog_.reset();
    auto catalog = Catalog::Create(options_, &builder_, Initial(), [this](ServingSet set) {
      std::lock_guard lock(mutex_);
      ++published_;
      set_ = std::move(set);
    });
    if (catalog.ok()) catalog_ = *std::move(catalog);
    return catalog.status();
  }
  void Start() {
    const Status status = TryStart();
    ASSERT_TRUE(status.ok()) << status;
  }

  // The finished operation.
  Operation Do(ChangeRequest request) {
    const auto id = catalog_->Submit(std::move(request));
    EXPECT_TRUE(id.ok()) << id.status();
    return id.ok() ? Finished(*id) : Operation{};
  }
  Operation Finished(uint64_t id) {
    auto operation = catalog_->Wait(id, std::chrono::steady_clock::now() + std::chrono::seconds(60));
    EXPECT_TRUE(operation.ok() && operation->finished());
    return operation.ok() ? *operation : Operation{};
  }
  static ChangeRequest Of(Change change) { return ChangeRequest{{std::move(change)}, {}, false, false}; }
  static Change Load(const std::string& name, const std::string& directory, bool replace = false) {
    return LoadChange{ArtifactKind::kExpert, name, directory, replace, {}};
  }
  static Change LoadRouter(const std::string& name, const std::string& directory) {
    return LoadChange{ArtifactKind::kRouter, name, directory, false, {}};
  }
  // The set as published last, and how often.
  ServingSet set() const {
    std::lock_guard lock(mutex_);
    return set_;
  }
  int published() const {
    std::lock_guard lock(mutex_);
    return published_;
  }
  void DropLease() {
    std::lock_guard lock(mutex_);
    set_ = {};
  }
  // Until everything that was retired in `id` is freed.
  Operation Freed(uint64_t id) {
    for (;;) {
      const Operation operation = Finished(id);
      if (operation.retiring_bytes() == 0 || testing::Test::HasFailure()) return operation;
      std::this_thread::yield();
    }
  }

  TempDir dir_;
  FakeSnapshotBuilder builder_;
  CatalogOptions options_;
  mutable std::mutex mutex_;
  ServingSet set_;     // guarded by mutex_
  int published_ = 0;  // guarded by mutex_
  std::unique_ptr<Catalog> catalog_;
};

}  // namespace switchyard
