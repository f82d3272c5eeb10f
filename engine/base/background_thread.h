// For threads whose work can wait: loading and freeing, beside steps that somebody waits for.
#pragma once

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace switchyard {

// Lowers the scheduling priority of the calling thread alone (Linux: nice 10, about a tenth of a busy core). Best effort: no error is of use.
inline void MakeThisABackgroundThread() { setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 10); }

}  // namespace switchyard
