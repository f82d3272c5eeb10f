#include "tests/server/fake_tokenizer.h"

#include <algorithm>
#include <utility>

namespace switchyard {
namespace {

size_t CharacterLength(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  return 0;  // no piece holds the others
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Moves whole characters from the front of `bytes` to the result; what cannot be one becomes U+FFFD. A beginning that may still be
// completed stays, unless `all`.
std::string TakeText(std::string* bytes, bool all) {
  std::string text;
  size_t at = 0;
  while (at < bytes->size()) {
    const size_t length = CharacterLength((*bytes)[at]);
    size_t have = 1;
    while (have < length && at + have < bytes->size() && IsContinuation((*bytes)[at + have])) ++have;
    if (have < length && at + have == bytes->size() && !all) break;
    text += length > 0 && have == length ? bytes->substr(at, length) : std::string("\xEF\xBF\xBD");
    at += have;
  }
  bytes->erase(0, at);
  return text;
}

class FakeDecodeStream final : public DecodeStream {
 public:
  FakeDecodeStream(const FakeTokenizer& tokenizer, bool skip_special) : tokenizer_(tokenizer), skip_special_(skip_special) {}
  StatusOr<std::string> Step(int32_t token) override {
    if (token > FakeTokenizer::kEos || !skip_special_) bytes_ += tokenizer_.piece(token);
    return TakeText(&bytes_, /*all=*/false);
  }
  StatusOr<std::string> Flush() override { return TakeText(&bytes_, /*all=*/true); }

 private:
  const FakeTokenizer& tokenizer_;
  const bool skip_special_;
  std::string bytes_;
};

}  // namespace

FakeTokenizer::FakeTokenizer() : pieces_({"<bos>", "<eos>"}) {
  for (char c = 'a'; c <= 'z'; ++c) pieces_.emplace_back(1, c);
  for (const char* piece :
       {" ",  ".",   "?",   "1",  "2",  "\xC3", "\xA9", "\xE2", "\x82", "\xAC", "\xE3", "\x80", "ab", "bc",       " a", " b",
        "  ", "abc", "the", "op", "st", "ing",  "e ",   "\n",   "er",   "<",    ">",    "A",    "B",  "\xC3\xA9", "s "}) {
    pieces_.emplace_back(piece);
  }
  while (pieces_.size() < 61) pieces_.emplace_back(1, static_cast<char>('C' + 61 - pieces_.size()));
}

std::optional<int32_t> FakeTokenizer::TokenToId(std::string_view token) const {
  const auto found = std::find(pieces_.begin(), pieces_.end(), token);
  if (found == pieces_.end()) return std::nullopt;
  return static_cast<int32_t>(found - pieces_.begin());
}

StatusOr<std::vector<EncodedToken>> FakeTokenizer::EncodeWithOffsets(std::string_view text, bool add_special_tokens) const {
  std::vector<EncodedToken> tokens;
  if (add_special_tokens) tokens.push_back({kBos, 0, 0});
  for (size_t at = 0; at < text.size();) {
    if (CharacterLength(text[at]) == 0 && !IsContinuation(text[at])) return InvalidArgument("text is not UTF-8 at byte %d", at);
    size_t longest = 0;
    int32_t id = Id("?");
    for (size_t p = 0; p < pieces_.size(); ++p) {
      if (pieces_[p].size() <= longest || !text.substr(at).starts_with(pieces_[p])) continue;
      longest = pieces_[p].size();
      id = static_cast<int32_t>(p);
    }
    const size_t end = at + std::max<size_t>(longest, 1);
    tokens.push_back({id, static_cast<int32_t>(at), static_cast<int32_t>(end)});
    at = end;
  }
  return tokens;
}

StatusOr<std::vector<int32_t>> FakeTokenizer::Encode(std::string_view text, bool add_special_tokens) const {
  ASSIGN_OR_RETURN(const auto tokens, EncodeWithOffsets(text, add_special_tokens));
  std::vector<int32_t> ids;
  for (const EncodedToken& token : tokens) ids.push_back(token.id);
  return ids;
}

StatusOr<std::string> FakeTokenizer::Decode(const std::vector<int32_t>& tokens, bool skip_special_tokens) const {
  std::string text;
  FakeDecodeStream stream(*this, skip_special_tokens);
  for (const int32_t token : tokens) text += *stream.Step(token);
  return text + *stream.Flush();
}

std::unique_ptr<DecodeStream> FakeTokenizer::NewDecodeStream(bool skip_special_tokens) const {
  return std::make_unique<FakeDecodeStream>(*this, skip_special_tokens);
}

StatusOr<std::string> FakeChatTemplate::Render(const std::vector<ChatTurn>& messages, bool add_generation_prompt) const {
  std::string text;
  for (const ChatTurn& turn : messages) {
    if (turn.role == "nobody") return InvalidArgument("chat template: the role nobody is not allowed");
    text += "<" + turn.role + ">" + turn.content + "<eos>";
  }
  return text + (add_generation_prompt ? "<assistant>" : "");
}

}  // namespace switchyard
