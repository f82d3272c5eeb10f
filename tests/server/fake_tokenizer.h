// A tokenizer of 61 pieces that anybody can do in the head: longest match from the left, with merges that reach across any border.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"

namespace switchyard {

// 0 is <bos>, 1 is <eos>; both are recognised in text. The pieces hold the bytes of "é" and "€" one by one, so that a generation can cut
// characters apart. Bytes without a piece become "?". add_special_tokens puts <bos> in front.
class FakeTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kBos = 0;
  static constexpr int32_t kEos = 1;

  FakeTokenizer();
  StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override;
  StatusOr<std::vector<EncodedToken>> EncodeWithOffsets(std::string_view text, bool add_special_tokens) const override;
  StatusOr<std::string> Decode(const std::vector<int32_t>& tokens, bool skip_special_tokens) const override;
  std::unique_ptr<DecodeStream> NewDecodeStream(bool skip_special_tokens) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(pieces_.size()); }
  std::optional<int32_t> TokenToId(std::string_view token) const override;

  // REQUIRES: `piece` is one.
  int32_t Id(std::string_view piece) const { return *TokenToId(piece); }
  const std::string& piece(int32_t id) const { return pieces_[id]; }

 private:
  std::vector<std::string> pieces_;
};

// "<user>hi<eos><assistant>" as text; refuses the role "nobody".
class FakeChatTemplate final : public ChatTemplate {
 public:
  StatusOr<std::string> Render(const std::vector<ChatTurn>& messages, bool add_generation_prompt) const override;
};

}  // namespace switchyard
