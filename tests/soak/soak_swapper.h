// The other side of a soak: artifacts good and broken, and a seeded sequence of changes to the catalog, each with what must become of it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/catalog/catalog.h"
#include "tests/testing/fake_snapshot_builder.h"

namespace switchyard::soak {

// Good artifacts: experts "law-0".. and "code-0".., routers for every pair of them, one separable.
class SoakArtifacts {
 public:
  explicit SoakArtifacts(std::string root);
  const std::string& root() const { return root_; }
  CatalogContent Initial() const;
  // What a snapshot with these experts and this router is made of, by content hash.
  const std::map<std::string, std::string>& directories() const { return directories_; }

  static constexpr int kVariants = 5;

 private:
  void Add(const std::string& name, const std::string& generation) { directories_[generation] = root_ + "/" + name; }
  std::string root_;
  std::map<std::string, std::string> directories_;  // generation -> path
};

struct SwapFigures {
  uint64_t swaps = 0;                          // changes published
  uint64_t unchanged = 0;                      // repeated, and rightly nothing done
  uint64_t refused = 0;                        // broken, and rightly refused
  std::map<std::string, uint64_t> refused_at;  // by step
  std::vector<std::string> wrong;              // what came out differently from what it must
  std::map<std::string, std::vector<double>> step_ms;
  uint64_t broken_ways = 0;
};

// Makes changes one after another until `swaps` were published. Blocks. `after` is called after each change.
SwapFigures RunSwaps(Catalog& catalog, const SoakArtifacts& artifacts, uint64_t swaps, uint32_t seed,
                     const std::function<void(uint64_t)>& after);

}  // namespace switchyard::soak
