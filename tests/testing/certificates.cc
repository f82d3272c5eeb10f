#include "tests/testing/certificates.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <cstdlib>

namespace switchyard {
namespace {

// OpenSSL fails here only when memory does.
template <typename T>
T* Must(T* pointer) {
  if (pointer == nullptr) std::abort();
  return pointer;
}

void AddExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = Must(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

X509* NewCertificate(const std::string& common_name, EVP_PKEY* key, X509* issuer) {
  static std::atomic<long> serial{1};
  X509* certificate = Must(X509_new());
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer != nullptr ? issuer : certificate));
  return certificate;
}

template <typename Write>
std::string Pem(Write write) {
  BIO* bio = Must(BIO_new(BIO_s_mem()));
  write(bio);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

std::string CertificatePem(X509* certificate) {
  return Pem([&](BIO* bio) { PEM_write_bio_X509(bio, certificate); });
}

}  // namespace

struct TestAuthority::Impl {
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
};

TestAuthority::TestAuthority(const std::string& name) : impl_(std::make_unique<Impl>()) {
  impl_->key = Must(EVP_EC_gen("P-256"));
  impl_->certificate = NewCertificate(name, impl_->key, nullptr);
  AddExtension(impl_->certificate, impl_->certificate, NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(impl_->certificate, impl_->certificate, NID_key_usage, "critical,keyCertSign");
  X509_sign(impl_->certificate, impl_->key, EVP_sha256());
}

TestAuthority::~TestAuthority() {
  X509_free(impl_->certificate);
  EVP_PKEY_free(impl_->key);
}

std::string TestAuthority::certificate() const { return CertificatePem(impl_->certificate); }

PemPair TestAuthority::Issue(const std::string& common_name) const {
  EVP_PKEY* key = Must(EVP_EC_gen("P-256"));
  X509* certificate = NewCertificate(common_name, key, impl_->certificate);
  AddExtension(certificate, impl_->certificate, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  X509_sign(certificate, impl_->key, EVP_sha256());
  PemPair pair = {CertificatePem(certificate),
                  Pem([&](BIO* bio) { PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr); })};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return pair;
}

}  // namespace switchyard
