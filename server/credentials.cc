#include "server/credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "engine/artifact/sha256.h"
#include "server/log.h"

namespace switchyard {
namespace {

constexpr size_t kMaxPemBytes = 1 << 20;

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

// An encrypted key is refused instead of asking whoever sits at the terminal.
int NoPassword(char*, int, int, void*) { return -1; }

StatusOr<std::string> ReadPem(const char* setting, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("%s: %s cannot be opened", setting, path);
  std::string text(kMaxPemBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxPemBytes) return InvalidArgument("%s: %s has more than %d bytes", setting, path, kMaxPemBytes);
  return text;
}

StatusOr<Certificate> ReadCertificate(const char* setting, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string pem, ReadPem(setting, path));
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr), X509_free);
  ERR_clear_error();
  if (certificate == nullptr) return InvalidArgument("%s: %s: expected a certificate in PEM, found none", setting, path);
  return certificate;
}

StatusOr<Key> ReadKey(const char* setting, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string pem, ReadPem(setting, path));
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassword, nullptr), EVP_PKEY_free);
  ERR_clear_error();
  if (key == nullptr) return InvalidArgument("%s: %s: expected a private key in PEM, not encrypted, found none", setting, path);
  return key;
}

}  // namespace

// gRPC only logs what is wrong with the files and then refuses every connection: said here instead, before the port opens.
Status CheckTlsFiles(const TlsOptions& options) {
  if (!options.enabled()) return OkStatus();
  ASSIGN_OR_RETURN(const Certificate certificate, ReadCertificate("tls_certificate", options.certificate));
  ASSIGN_OR_RETURN(const Key key, ReadKey("tls_key", options.key));
  const bool match = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (!match) return InvalidArgument("tls_key: %s is not the key of the certificate %s", options.key, options.certificate);
  if (!options.client_ca.empty()) RETURN_IF_ERROR(ReadCertificate("tls_client_ca", options.client_ca).status());
  return OkStatus();
}

TlsFilesWatch::TlsFilesWatch(TlsOptions options) : options_(std::move(options)), content_(Content()) {}

// One hash over all files; what cannot be read counts as empty.
std::string TlsFilesWatch::Content() const {
  std::string all;
  for (const std::string& path : {options_.certificate, options_.key, options_.client_ca}) {
    const auto pem = path.empty() ? StatusOr<std::string>("") : ReadPem("", path);
    all += pem.ok() ? Sha256Hex(*pem) : "-";
  }
  return all;
}

bool TlsFilesWatch::Look() {
  if (!options_.enabled()) return true;
  const Status usable = CheckTlsFiles(options_);
  std::string complaint = usable.ok() ? "" : std::string(Message(usable));
  if (!complaint.empty() && complaint != last_complaint_) {
    Log(LogLevel::kError, "certificates cannot be used",
        {{"message", complaint}, {"note", "new connections are refused until they can; those that are open go on"}});
  }
  last_complaint_ = std::move(complaint);
  if (!usable.ok()) return false;
  if (std::string content = Content(); content != content_) {
    content_ = std::move(content);
    Log(LogLevel::kInfo, "certificates reloaded", {{"file", options_.certificate}});
  }
  return true;
}

StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsOptions& options) {
  RETURN_IF_ERROR(ValidateTls(options));
  if (!options.enabled()) return grpc::InsecureServerCredentials();
  RETURN_IF_ERROR(CheckTlsFiles(options));
  auto files = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(options.key, options.certificate, options.client_ca,
                                                                                    static_cast<unsigned>(options.reload_seconds));
  grpc::experimental::TlsServerCredentialsOptions tls(std::move(files));
  tls.watch_identity_key_cert_pairs();
  if (options.client_ca.empty()) {
    tls.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    tls.watch_root_certs();
    tls.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(tls);
}

}  // namespace switchyard
