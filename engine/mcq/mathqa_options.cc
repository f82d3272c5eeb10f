#include "engine/mcq/mathqa_options.h"

#include "engine/mcq/lines.h"

namespace switchyard {
namespace {

constexpr int kMaxOptions = 26;

std::string Label(int index) { return std::string(1, static_cast<char>('a' + index)) + " )"; }

std::string WithoutLabels(std::string_view option, int index) {
  const std::string label = Label(index);
  option = Trim(option);
  while (option.substr(0, label.size()) == label) option = Trim(option.substr(label.size()));
  return std::string(option);
}

// Commas also stand inside options, so a border is a comma followed by the next label, not any comma.
StatusOr<std::vector<std::string>> ParseRunning(std::string_view text) {
  if (text.substr(0, 3) != "a )") return InvalidArgument("\"options\": expected \"a )\" at the start, found \"%s\"", text.substr(0, 12));
  std::vector<std::string> options;
  size_t begin = 0;
  for (int index = 0; index < kMaxOptions; ++index) {
    const size_t border = text.find(", " + Label(index + 1), begin);
    options.push_back(WithoutLabels(text.substr(begin, border == std::string_view::npos ? border : border - begin), index));
    if (border == std::string_view::npos) break;
    begin = border + 2;
  }
  return options;
}

// One string literal of Python at text[*at], which is its opening quote.
StatusOr<std::string> ParsePythonString(std::string_view text, size_t* at) {
  const char quote = text[(*at)++];
  std::string value;
  while (*at < text.size()) {
    const char c = text[(*at)++];
    if (c == quote) return value;
    if (c != '\\' || *at == text.size()) {
      value += c;
      continue;
    }
    const char escaped = text[(*at)++];
    switch (escaped) {
      case '\\':
      case '\'':
      case '"':
        value += escaped;
        break;
      case 'n':
        value += '\n';
        break;
      case 't':
        value += '\t';
        break;
      default:
        value.append("\\").append(1, escaped);
    }
  }
  return InvalidArgument("\"options\": the list ends inside a string");
}

StatusOr<std::vector<std::string>> ParseList(std::string_view text) {
  std::vector<std::string> options;
  size_t at = 1;
  const auto skip_blanks = [&] {
    while (at < text.size() && text[at] == ' ') ++at;
  };
  for (;;) {
    skip_blanks();
    if (at == text.size() || (text[at] != '\'' && text[at] != '"')) {
      return InvalidArgument("\"options\": expected a quoted string at character %d of the list", at);
    }
    ASSIGN_OR_RETURN(const std::string item, ParsePythonString(text, &at));
    if (options.size() == kMaxOptions) return InvalidArgument("\"options\": more than %d", kMaxOptions);
    const auto index = static_cast<int>(options.size());
    if (item.compare(0, 3, Label(index)) != 0) {
      return InvalidArgument("\"options\": expected \"%s\" at the start of option %d, found \"%s\"", Label(index), index + 1,
                             item.substr(0, 12));
    }
    options.push_back(WithoutLabels(item, index));
    skip_blanks();
    if (at < text.size() && text[at] == ']' && at + 1 == text.size()) return options;
    if (at == text.size() || text[at] != ',')
      return InvalidArgument("\"options\": expected \",\" or \"]\" at character %d of the list", at);
    ++at;
  }
}

}  // namespace

StatusOr<std::vector<std::string>> ParseMathQaOptions(std::string_view text) {
  text = Trim(text);
  return !text.empty() && text.front() == '[' ? ParseList(text) : ParseRunning(text);
}

}  // namespace switchyard
