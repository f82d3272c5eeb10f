#include "server/snapshot_choice.h"

#include <random>

#include "server/routing_request.h"

namespace switchyard {
namespace {

double Draw() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(generator);
}

bool Pins(const v1::PinnedGenerations& pinned) { return !pinned.snapshot().empty() || !pinned.base().empty() || !pinned.router().empty(); }

}  // namespace

// FNV-1a, then a mixer (splitmix64's): FNV alone leaves the high bits of short keys alike.
double KeyPosition(const std::string& key) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ull;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebull;
  return static_cast<double>((hash ^ (hash >> 31)) >> 11) * 0x1.0p-53;
}

StatusOr<std::shared_ptr<const Snapshot>> ChooseSnapshot(const ServingSet& serving, const v1::PinnedGenerations& pinned,
                                                         const std::string& key) {
  if (Pins(pinned)) {
    const Status stable = CheckPins(pinned, serving.stable->info());
    if (stable.ok()) return serving.stable;
    if (serving.canary == nullptr) return stable;
    const Status canary = CheckPins(pinned, serving.canary->info());
    if (canary.ok()) return serving.canary;
    return FailedPrecondition("stable: %s; canary: %s", Message(stable), Message(canary));
  }
  if (serving.canary == nullptr || serving.canary_share <= 0) return serving.stable;
  return (key.empty() ? Draw() : KeyPosition(key)) < serving.canary_share ? serving.canary : serving.stable;
}

}  // namespace switchyard
