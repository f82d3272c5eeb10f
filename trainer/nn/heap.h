// The C library's heap as training wants it.
#pragma once

namespace switchyard::trainer {

// Freed memory stays with the process: a step's large tensors would otherwise be mapped, zeroed by the kernel and unmapped again and again,
// an eighth of a step's time. Call once, before the first tensor; the whole process is affected.
void KeepFreedMemory();

}  // namespace switchyard::trainer
