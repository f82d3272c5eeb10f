#include "trainer/compare/method.h"

#include <algorithm>
#include <charconv>

namespace switchyard::trainer {
namespace {

// Takes ":K" off the end; nothing else that follows a colon is a number alone.
StatusOr<int32_t> TakeTopK(std::string_view whole, std::string* text) {
  const size_t colon = text->rfind(':');
  if (colon == std::string::npos || colon + 1 == text->size()) return 0;
  int32_t top_k = 0;
  const char* end = text->data() + text->size();
  const auto parsed = std::from_chars(text->data() + colon + 1, end, top_k);
  if (parsed.ec == std::errc::invalid_argument || parsed.ptr != end) return 0;
  if (parsed.ec != std::errc() || top_k < 1) return InvalidArgument("--method %s: top_k: expected at least 1", whole);
  text->resize(colon);
  return top_k;
}

}  // namespace

StatusOr<NamedList> ParseNamedList(std::string_view option, std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) return InvalidArgument("%s %s: expected NAME=ITEM[,ITEM...]", option, text);
  NamedList list{.name = std::string(text.substr(0, equals)), .items = {}};
  std::string_view rest = text.substr(equals + 1);
  for (;;) {
    const size_t comma = rest.find(',');
    list.items.emplace_back(rest.substr(0, comma));
    if (list.items.back().empty()) return InvalidArgument("%s %s: an empty part", option, text);
    if (comma == std::string_view::npos) return list;
    rest.remove_prefix(comma + 1);
  }
}

StatusOr<MethodSpec> ParseMethod(std::string_view text) {
  if (text == "base") return MethodSpec{.name = "base", .kind = MethodKind::kBase, .directories = {}};
  if (text == "random") return MethodSpec{.name = "random", .kind = MethodKind::kRandom, .directories = {}};
  if (text == "oracle" || text == "oracle-by-label") return MethodSpec{.name = "oracle", .kind = MethodKind::kOracle, .directories = {}};
  if (text.find('=') == std::string_view::npos) {
    return InvalidArgument("--method %s: expected NAME=DIRECTORY[,DIRECTORY...][:K], base, random or oracle", text);
  }
  std::string rest(text);
  ASSIGN_OR_RETURN(const int32_t top_k, TakeTopK(text, &rest));
  ASSIGN_OR_RETURN(NamedList list, ParseNamedList("--method", rest));
  return MethodSpec{.name = std::move(list.name), .kind = MethodKind::kRouter, .directories = std::move(list.items), .top_k = top_k};
}

}  // namespace switchyard::trainer
