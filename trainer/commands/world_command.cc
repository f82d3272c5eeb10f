// switchyard-trainer demo-data: the demonstration world.
#include <cstdio>
#include <memory>

#include "trainer/commands/common.h"
#include "trainer/world/demo_world.h"

namespace switchyard::trainer {

void AddDemoDataCommand(CLI::App& app, Status* result) {
  auto options = std::make_shared<DemoWorldOptions>();
  CLI::App* command = app.add_subcommand("demo-data", "Write a seeded world of four learnable domains and a general one");
  command->add_option("directory", options->directory, "must not exist")->required();
  command->add_option("--seed", options->seed)->capture_default_str();
  command->add_flag("--small", options->small, "about a fifth of the facts");
  command->callback([options, result] {
    *result = WriteDemoWorld(*options);
    if (result->ok()) *result = CheckDemoWorld(options->directory);
    if (result->ok())
      std::printf("%s: demonstration world, seed %llu\n", options->directory.c_str(), static_cast<unsigned long long>(options->seed));
  });
}

}  // namespace switchyard::trainer
