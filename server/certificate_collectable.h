// When the server's certificate expires, and whether the files are of use, for /metrics.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/tls_options.h"

namespace switchyard {

// Seconds since the epoch at which the first certificate of a PEM file expires; absent when the file holds none.
std::optional<double> CertificateExpiry(const std::string& file);

// Thread-safe. Reads the files at each scrape: what is there is what new connections get, a reload interval later at most.
class CertificateCollectable final : public prometheus::Collectable {
 public:
  explicit CertificateCollectable(TlsOptions options) : options_(std::move(options)) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const TlsOptions options_;
};

}  // namespace switchyard
