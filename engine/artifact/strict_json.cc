#include "engine/artifact/strict_json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

namespace switchyard {
namespace {

class StrictJson : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool start_object(size_t) override {
    keys_.emplace_back();
    return keys_.size() <= 8 || Fail("nested too deeply");
  }
  bool end_object() override {
    keys_.pop_back();
    return true;
  }
  bool start_array(size_t) override { return ++arrays_ <= 8 || Fail("nested too deeply"); }
  bool end_array() override {
    --arrays_;
    return true;
  }
  bool key(string_t& k) override { return keys_.back().insert(k).second || Fail("key \"" + k.substr(0, 80) + "\" appears twice"); }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool parse_error(size_t at, const std::string&, const nlohmann::detail::exception&) override {
    return Fail("not valid JSON at byte " + std::to_string(at));
  }
  const std::string& problem() const { return problem_; }

 private:
  bool Fail(std::string what) {
    if (problem_.empty()) problem_ = std::move(what);
    return false;
  }
  std::vector<std::set<std::string>> keys_;
  int arrays_ = 0;
  std::string problem_;
};

}  // namespace

Status CheckStrictJson(std::string_view text, const std::string& where) {
  StrictJson strict;
  if (nlohmann::json::sax_parse(text, &strict)) return OkStatus();
  return DataLoss("%s: %s", where, strict.problem());
}

}  // namespace switchyard
