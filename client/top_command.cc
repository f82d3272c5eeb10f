#include "client/top_command.h"

#include <chrono>

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/time/time.h"
#include "client/top_view.h"

namespace switchyard::client {

CLI::App* TopCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("top", "Watch what every expert does, layer by layer");
  command->add_flag("--once", once_, "One frame: everything since the start");
  command->add_option("--interval", interval_s_, "Seconds between frames")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3600.0).description(""))
      ->capture_default_str();
  command->add_option("--frames", frames_, "Stop after so many; 0: when interrupted")
      ->type_name("N")
      ->check(CLI::Range(0, 1000000).description(""))
      ->capture_default_str();
  command->add_option("--operations", operations_, "How many of the latest operations to show")
      ->type_name("N")
      ->check(CLI::Range(1, 100).description(""))
      ->capture_default_str();
  AddAdminConnectionFlags(*command, &connection_);
  return command;
}

ExitCode TopCommand::Run(CommandEnvironment& environment) {
  Terminal& terminal = environment.terminal;
  AdminConnection connection(connection_);
  TopFrame frame;
  std::chrono::steady_clock::time_point last;
  const int frames = once_ ? 1 : frames_;
  for (int shown = 0; frames == 0 || shown < frames; ++shown) {
    if (shown > 0) {
      environment.retry.sleep(absl::Seconds(interval_s_));
      frame.before = frame.now;
    }
    grpc::Status status = connection.GetUtilisation(&frame.now);
    const auto now = std::chrono::steady_clock::now();
    if (status.ok()) status = connection.List(&frame.state);
    if (status.ok()) status = connection.ListOperations(operations_, &frame.operations);
    if (!status.ok()) return FailAdmin(terminal, status, connection_);
    frame.seconds = shown > 0 ? std::chrono::duration<double>(now - last).count() : 0;
    last = now;
    const bool replace = terminal.out_is_tty && !once_;
    // Home, the frame, and nothing of the last one below it.
    terminal.out << (replace     ? "\x1b[H\x1b[2J"
                     : shown > 0 ? "\n"
                                 : "")
                 << TopView(frame, terminal.out_style, terminal.columns) << std::flush;
    if (!terminal.out) return kExitOk;  // whoever read it has gone
  }
  return kExitOk;
}

}  // namespace switchyard::client
