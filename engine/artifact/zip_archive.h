// The part of the zip format that PyTorch writes: stored (uncompressed) entries, zip64 included.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "engine/base/status.h"

namespace switchyard {

// Entry names and their bytes inside `bytes`; nothing is copied and nothing is ever written under an entry's name, so a name cannot lead
// anywhere. Memory is in proportion to the directory's own bytes. DATA_LOSS for a broken archive, an entry listed twice or entries that
// share bytes; UNIMPLEMENTED for compression, encryption and archives over several disks. Checksums are not verified. `name` stands for the
// path in messages.
StatusOr<std::map<std::string, std::span<const std::byte>>> ReadZipDirectory(std::span<const std::byte> bytes, const std::string& name);

}  // namespace switchyard
