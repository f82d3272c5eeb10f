// The `switchyard` command.
#include <iostream>
#include <string>
#include <vector>

#include "client/command_line.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  switchyard::client::Terminal terminal = switchyard::client::Terminal::ForProcess();
  switchyard::client::CommandEnvironment environment{std::cin, terminal, {}};
  return switchyard::client::RunCommandLine(std::vector<std::string>(argv + 1, argv + argc), environment);
}
