#include "server/certificate_collectable.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>

#include "server/credentials.h"
#include "server/metric_families.h"

namespace switchyard {

std::optional<double> CertificateExpiry(const std::string& file) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_file(file.c_str(), "r"), BIO_free);
  if (bio == nullptr) return std::nullopt;
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
  if (certificate == nullptr) return std::nullopt;
  std::tm time = {};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &time) != 1) return std::nullopt;
  return static_cast<double>(timegm(&time));
}

std::vector<prometheus::MetricFamily> CertificateCollectable::Collect() const {
  MetricFamilies families;
  prometheus::MetricFamily& family =
      families.Family("switchyard_tls_certificate_expiry_timestamp_seconds", "When the server's certificate expires, since the epoch.",
                      prometheus::MetricType::Gauge);
  if (const auto expiry = CertificateExpiry(options_.certificate)) MetricFamilies::Add(family, {}, *expiry);
  MetricFamilies::Add(families.Family("switchyard_tls_files_usable",
                                      "1 while certificate, key and client root can be used, 0 while new connections are refused.",
                                      prometheus::MetricType::Gauge),
                      {}, CheckTlsFiles(options_).ok() ? 1 : 0);
  return families.Take();
}

}  // namespace switchyard
