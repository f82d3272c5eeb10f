#include "server/live_page.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <string_view>

namespace switchyard {
namespace {

// 'sha256-...' of what stands between the two marks.
std::string HashOf(std::string_view page, std::string_view open, std::string_view close) {
  const size_t begin = page.find(open) + open.size();
  const std::string_view text = page.substr(begin, page.find(close, begin) - begin);
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  unsigned char base64[4 * ((SHA256_DIGEST_LENGTH + 2) / 3) + 1];
  const int size = EVP_EncodeBlock(base64, digest, SHA256_DIGEST_LENGTH);
  return "'sha256-" + std::string(reinterpret_cast<const char*>(base64), static_cast<size_t>(size)) + "'";
}

}  // namespace

std::string LivePagePolicy() {
  return "default-src 'none'; style-src " + HashOf(kLivePageHtml, "<style>", "</style>") + "; script-src " +
         HashOf(kLivePageHtml, "<script>", "</script>") +
         "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

}  // namespace switchyard
