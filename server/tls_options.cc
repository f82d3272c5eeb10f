#include "server/tls_options.h"

#include "server/address.h"

namespace switchyard {

Status ValidateTls(const TlsOptions& options) {
  if (options.certificate.empty() != options.key.empty()) {
    return InvalidArgument("%s is given without %s: TLS needs both", options.certificate.empty() ? "tls_key" : "tls_certificate",
                           options.certificate.empty() ? "tls_certificate" : "tls_key");
  }
  if (!options.client_ca.empty() && !options.enabled())
    return InvalidArgument("tls_client_ca is given without tls_certificate and tls_key: mutual TLS needs all three");
  return OkStatus();
}

Status CheckAdminAddress(const std::string& setting, const std::string& address, const TlsOptions& options) {
  if (address.empty() || options.enabled() || IsLoopback(address)) return OkStatus();
  return InvalidArgument(
      "%s: %s can be reached from other machines and TLS is off; give tls_certificate and tls_key, or listen on 127.0.0.1 or [::1]",
      setting, address);
}

}  // namespace switchyard
