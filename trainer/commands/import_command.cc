// switchyard-trainer import: other people's checkpoints.
#include "trainer/commands/common.h"

namespace switchyard::trainer {
void AddImportCommand(CLI::App&, Status*) {}
}  // namespace switchyard::trainer
