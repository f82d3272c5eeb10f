// Memory as training wants it.
#pragma once

namespace switchyard::trainer {

// Freed memory stays with the process, tensors' in a Recycler: a step's large tensors would otherwise be mapped, zeroed by the kernel and
// unmapped again and again, an eighth of a step's time. Call once, before the first tensor; the whole process is affected.
void KeepFreedMemory();
// What is kept and not in use goes back to the system.
void ReleaseFreedMemory();

}  // namespace switchyard::trainer
