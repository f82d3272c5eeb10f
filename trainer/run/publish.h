// What a run leaves behind: artifacts a server loads.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "trainer/data/example.h"
#include "trainer/nn/model.h"

namespace switchyard::trainer {

struct RouterPublication {
  std::string name;
  bool untrained = false;                            // drawn at random and never trained: servers and clients repeat it
  std::string directory;                             // must not exist
  std::map<std::string, std::string> training = {};  // RouterManifest::training
};

// Measures what `router` measures once it is trained (RouterModule::calibrates; nothing: no pass) over a sample of the training data:
// twice, the second time on the hidden states that the first time's routes lead to.
Status CalibrateTrained(TrainableModel& model, RouterModule& router, const Dataset& train);

// A router artifact bound to the base and to `experts` (whose generations are known), with golden probes out of `probes` data: hidden
// states the model really sees, each with a clear margin (none for a router that looks at token ids); and the load shares over a sample of
// the training data, which servers compare their traffic with.
Status PublishRouter(TrainableModel& model, const BaseWeights& base, const std::vector<LoraExpert>& experts, const RouterModule& router,
                     const Dataset& train, const Dataset& probes, const RouterPublication& publication);

// The base with trained attention: every other file copied, model.safetensors written anew. `attention` are the model's parameters.
Status PublishBase(const BaseWeights& base, const std::vector<Parameter>& attention, const std::string& directory);

}  // namespace switchyard::trainer
