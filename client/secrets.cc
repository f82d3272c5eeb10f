#include "client/secrets.h"

#include <algorithm>
#include <fstream>

namespace switchyard::client {
namespace {

StatusOr<std::string> ReadSmallFile(const std::string& path, size_t most) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("%s: cannot be opened", path);
  std::string text(most + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > most) return InvalidArgument("%s: has more than %d bytes", path, most);
  return text;
}

}  // namespace

StatusOr<std::string> ReadPemFile(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadSmallFile(path, 1 << 20));
  if (text.find("-----BEGIN ") == std::string::npos) return InvalidArgument("%s: expected PEM (-----BEGIN ...), found none", path);
  return text;
}

StatusOr<std::string> ReadTokenFile(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadSmallFile(path, 4096));
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return InvalidArgument("%s: expected a token, found an empty file", path);
  text = text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; }))
    return InvalidArgument("%s: expected one token of printable ASCII without blanks", path);
  return text;
}

}  // namespace switchyard::client
