// Which files make a port speak TLS.
#pragma once

#include <string>

#include "engine/base/status.h"

namespace switchyard {

struct TlsOptions {
  std::string certificate;  // PEM: the server's certificate and what chains it to its root; "": plain text
  std::string key;          // PEM: its private key
  std::string client_ca;    // PEM: roots that a client's certificate must chain to (mutual TLS); "": clients need none
  int reload_seconds = 10;  // how often the files are looked at; what changed holds for connections made afterwards

  bool enabled() const { return !certificate.empty(); }
};

// INVALID_ARGUMENT naming the setting when one is missing that another needs.
Status ValidateTls(const TlsOptions& options);

// The administration port changes what everybody is answered with: in plain text it may listen on loopback only. INVALID_ARGUMENT
// otherwise, with what to do. `setting` is the address' name in messages.
Status CheckAdminAddress(const std::string& setting, const std::string& address, const TlsOptions& options);

}  // namespace switchyard
