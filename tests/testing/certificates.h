// Keys and certificates made on the spot.
#pragma once

#include <memory>
#include <string>

namespace switchyard {

struct PemPair {
  std::string certificate, key;
};

// A certificate authority of its own, valid for an hour. Cost: a P-256 key each.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name);
  ~TestAuthority();
  std::string certificate() const;
  // A certificate for localhost and 127.0.0.1, with this common name.
  PemPair Issue(const std::string& common_name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard
