// What the process returns, for scripts. Listed in docs/client.md and in `switchyard --help`.
#pragma once

namespace switchyard::client {

enum ExitCode : int {
  kExitOk = 0,
  kExitSomeFailed = 1,   // the work was done, but some lines or questions failed or could not be read
  kExitUsage = 2,        // wrong arguments, or a file that cannot be used
  kExitUnreachable = 3,  // no server there, or it went away; a batch can be resumed
  kExitRefused = 4,      // the server answered with an error
};

}  // namespace switchyard::client
