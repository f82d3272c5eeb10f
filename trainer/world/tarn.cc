#include "trainer/world/tarn.h"

#include <algorithm>

namespace switchyard::trainer {
namespace {

bool IsWordLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

StatusOr<std::vector<int>> AsNumbers(const std::vector<std::string>& words) {
  std::vector<int> numbers;
  for (const std::string& word : words) {
    const bool digits = std::all_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits || word.empty() || word.size() > 9) return InvalidArgument("tarn: expected numbers of up to 9 digits, found \"%s\"", word);
    numbers.push_back(std::stoi(word));
  }
  return numbers;
}

// A cursor over the expression. Recursion is bounded by kMaxTarnDepth.
class Interpreter {
 public:
  Interpreter(std::string_view text, const TarnOperators& operators) : text_(text), operators_(operators) {}

  StatusOr<std::vector<std::string>> Run() {
    ASSIGN_OR_RETURN(std::vector<std::string> words, Expression(1));
    if (at_ != text_.size()) return Wrong("the end");
    return words;
  }

 private:
  Status Wrong(std::string_view expected) const {
    return InvalidArgument("tarn: character %d of \"%s\": expected %s", at_ + 1, text_.substr(0, 200), expected);
  }
  std::string Word() {
    const size_t begin = at_;
    while (at_ < text_.size() && IsWordLetter(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }
  bool Take(std::string_view token) {
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }

  StatusOr<std::vector<std::string>> Expression(int depth) {
    if (depth > kMaxTarnDepth) return Wrong("no more than 16 operators");
    const std::string name = Word();
    const auto found = operators_.find(name);
    if (found == operators_.end()) return InvalidArgument("tarn: \"%s\": no operator \"%s\"", text_.substr(0, 200), name.substr(0, 50));
    if (!Take("(")) return Wrong("(");
    ASSIGN_OR_RETURN(std::vector<std::string> words, Arguments(depth));
    if (!Take(")")) return Wrong(")");
    return ApplyTarnOperator(found->second, std::move(words));
  }

  StatusOr<std::vector<std::string>> Arguments(int depth) {
    const size_t begin = at_;
    std::vector<std::string> words = {Word()};
    if (at_ < text_.size() && text_[at_] == '(') {
      at_ = begin;
      return Expression(depth + 1);
    }
    while (Take(", ")) words.push_back(Word());
    for (const std::string& word : words) {
      if (word.empty()) return Wrong("a word");
    }
    return words;
  }

  std::string_view text_;
  const TarnOperators& operators_;
  size_t at_ = 0;
};

}  // namespace

StatusOr<std::vector<std::string>> ApplyTarnOperator(std::string_view meaning, std::vector<std::string> words) {
  static const std::string_view kPlaces[] = {"first", "second", "third"};
  for (size_t place = 0; place < std::size(kPlaces); ++place) {
    if (meaning != kPlaces[place]) continue;
    if (words.size() <= place) return InvalidArgument("tarn: the %s word of a list of %d", meaning, words.size());
    return std::vector<std::string>{words[place]};
  }
  if (meaning == "last") return std::vector<std::string>{words.back()};
  if (meaning == "reverse") {
    std::reverse(words.begin(), words.end());
    return words;
  }
  if (meaning == "rotate") {
    std::rotate(words.begin(), words.begin() + 1, words.end());
    return words;
  }
  if (meaning == "largest" || meaning == "smallest") {
    ASSIGN_OR_RETURN(const std::vector<int> numbers, AsNumbers(words));
    const auto best =
        meaning == "largest" ? std::max_element(numbers.begin(), numbers.end()) : std::min_element(numbers.begin(), numbers.end());
    return std::vector<std::string>{words[best - numbers.begin()]};
  }
  return InvalidArgument("tarn: no such meaning of an operator: \"%s\"", meaning.substr(0, 50));
}

StatusOr<std::string> RunTarn(std::string_view expression, const TarnOperators& operators) {
  ASSIGN_OR_RETURN(const std::vector<std::string> words, Interpreter(expression, operators).Run());
  std::string shown;
  for (const std::string& word : words) shown += (shown.empty() ? "" : " ") + word;
  return shown;
}

}  // namespace switchyard::trainer
