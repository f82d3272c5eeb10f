// The files a connection is made safe with, read when the command line is.
#pragma once

#include <string>

#include "engine/base/status.h"

namespace switchyard::client {

// A file of certificates or a key as it is, at most 1 MiB. NOT_FOUND, INVALID_ARGUMENT when it holds no PEM.
StatusOr<std::string> ReadPemFile(const std::string& path);

// The token of a file: its one line, without blanks around it. NOT_FOUND; INVALID_ARGUMENT when it is empty, has further lines, or holds
// anything but printable ASCII without blanks. No message quotes the content.
StatusOr<std::string> ReadTokenFile(const std::string& path);

}  // namespace switchyard::client
