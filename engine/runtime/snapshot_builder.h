// The torch-free door to loading: parts are read and verified one by one, then put together into a snapshot that shares them.
//
// engine/runner implements it with LibTorch; tests use a fake. Thread-safe: loaders call it beside the engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"

namespace switchyard {

// What an artifact is, known from its manifest, header and hashes alone, without making it resident.
struct ExpertInfo {
  std::string generation;  // content hash, hex; "zero" for the zero expert
  bool is_zero = false;
  int32_t max_rank = 0;
  int64_t bytes = 0;  // resident, once loaded
  bool untrained = false;
  std::vector<std::string> notes;  // coverage, a line each
};

struct RouterInfo {
  std::string name, kind;
  std::string generation;       // content hash, hex
  std::string base_generation;  // the base it is bound to
  struct Binding {
    std::string name, generation;
    bool is_zero = false;
  };
  std::vector<Binding> experts;  // bound, ordered
  int32_t top_k = 0;
  bool separable = false;  // scores experts it was not made with as well, from their own matrices: they are routed to at once
  int64_t bytes = 0;       // resident, once loaded
  bool untrained = false;
  std::vector<std::vector<float>> load_shares;  // [layers][experts] over the training data, a layer's sum is 1; empty when not known
  std::vector<std::string> notes;
};

// Resident and immutable; shared by every snapshot that holds it, freed by the last holder (the catalog wraps parts and snapshots so that
// this is never the engine's thread: engine/catalog/retirer.h).
class ExpertPart {
 public:
  virtual ~ExpertPart() = default;
  virtual const ExpertInfo& info() const = 0;
};
class RouterPart {
 public:
  virtual ~RouterPart() = default;
  virtual const RouterInfo& info() const = 0;
};

struct SnapshotPlan {
  struct Entry {
    std::string name;  // unique
    std::shared_ptr<const ExpertPart> part;
  };
  std::vector<Entry> experts;
  std::shared_ptr<const RouterPart> router;  // null: learned routing is refused
  // How an expert list that is not exactly the router's, order included, is met. false: FAILED_PRECONDITION naming both. true (an expert
  // was added, replaced or removed under a running router): the router's slots whose expert (name and generation) is not served are masked,
  // served experts the router does not name are masked for learned routing and reachable by name, or, when it is separable and they are not
  // zero, scored as its own are. Indices are never silently re-used.
  bool allow_masking = false;
};

class SnapshotBuilder {
 public:
  virtual ~SnapshotBuilder() = default;
  virtual const std::string& base_generation() const = 0;
  // Read manifests, headers and hashes, no more. NOT_FOUND, INVALID_ARGUMENT, DATA_LOSS, FAILED_PRECONDITION as the loads below.
  virtual StatusOr<ExpertInfo> InspectExpert(const std::string& directory) = 0;
  virtual StatusOr<RouterInfo> InspectRouter(const std::string& directory) = 0;
  // Reads, verifies (hashes, shapes against the base, finite values) and makes resident. "" is the zero expert.
  virtual StatusOr<std::shared_ptr<const ExpertPart>> LoadExpert(const std::string& directory) = 0;
  // Also checks the base it is bound to and replays the golden probes.
  virtual StatusOr<std::shared_ptr<const RouterPart>> LoadRouter(const std::string& directory) = 0;
  // Cheap: shares the parts. The result's info().experts holds the router's experts first, in its order, then those a separable router
  // scores from their own matrices, then the others, both in plan order.
  virtual StatusOr<std::shared_ptr<const Snapshot>> Build(const SnapshotPlan& plan) = 0;
};

}  // namespace switchyard
