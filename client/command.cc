#include "client/command.h"

namespace switchyard::client {

ExitCode Fail(Terminal& terminal, const std::string& message, ExitCode code) {
  terminal.err << terminal.err_style.Red("switchyard:") << " " << message << std::endl;
  return code;
}

ExitCode Fail(Terminal& terminal, const Status& status) { return Fail(terminal, std::string(Message(status)), kExitUsage); }

ExitCode Fail(Terminal& terminal, const grpc::Status& status, const ConnectionOptions& options) {
  return Fail(terminal, ExplainRpcError(status, options), ExitCodeFor(status));
}

}  // namespace switchyard::client
