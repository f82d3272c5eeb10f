// The flags of switchyard-trainer router.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <map>
#include <string>

#include "trainer/commands/common.h"
#include "trainer/commands/experts.h"
#include "trainer/nn/router_module.h"
#include "trainer/run/route_manifold.h"

namespace switchyard::trainer {

struct RouterFlags {
  CommonFlags common;
  ExpertFlags experts;
  RouterOptions router;
  ManifoldOptions manifold;
  std::string name = "router", gate = "auto", train = "router", init, balance = "0";
  double balance_rate = 1e-3, second_weight = 4, orthogonality = 0;
  int64_t label_steps = 0;
  bool random = false;

  void AddTo(CLI::App& app);
  // With the options that became of them: what decides the outcome beside common, as part of a checkpoint's identity.
  std::string Decisive(const RouterOptions& r) const;
  // What the manifest tells of the training.
  std::map<std::string, std::string> Told(const RouterOptions& r, int64_t steps) const;

 private:
  void AddLosses(CLI::App& app);
};

}  // namespace switchyard::trainer
