#include "engine/text/tokenizer.h"

#include <limits>
#include <utility>

#include "engine/text/rust_bridge.h"
#include "engine/text/text_files.h"

namespace switchyard {
namespace {

// The largest published tokenizer.json files are about 35 MB.
constexpr size_t kMaxTokenizerBytes = size_t{512} << 20;

Status FromCode(int32_t code, const rust::OwnedBuffer& error) {
  if (code == SWT_PANIC) return Internal("%s", error.text());
  return InvalidArgument("%s", error.text());
}

class RustDecodeStream : public DecodeStream {
 public:
  // `handle` keeps its own reference to the tokenizer.
  explicit RustDecodeStream(SwtStream* handle) : handle_(handle) {}

  StatusOr<std::string> Step(int32_t token) override {
    if (token < 0) return InvalidArgument("token id %d is negative", token);
    rust::OwnedBuffer text, error;
    const int32_t code = swt_stream_step(handle_.get(), static_cast<uint32_t>(token), text.out(), error.out());
    if (code != SWT_OK) return FromCode(code, error);
    return text.text();
  }

  StatusOr<std::string> Flush() override {
    rust::OwnedBuffer text, error;
    const int32_t code = swt_stream_flush(handle_.get(), text.out(), error.out());
    if (code != SWT_OK) return FromCode(code, error);
    return text.text();
  }

 private:
  std::unique_ptr<SwtStream, rust::Deleter> handle_;
};

class RustTokenizer : public Tokenizer {
 public:
  explicit RustTokenizer(SwtTokenizer* handle) : handle_(handle), vocab_size_(static_cast<int32_t>(swt_tokenizer_vocab_size(handle))) {}

  StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override {
    ASSIGN_OR_RETURN(const Tokens tokens, Run(text, add_special_tokens, /*with_offsets=*/false));
    return std::vector<int32_t>(tokens.raw.values, tokens.raw.values + tokens.raw.len);
  }

  StatusOr<std::vector<EncodedToken>> EncodeWithOffsets(std::string_view text, bool add_special_tokens) const override {
    ASSIGN_OR_RETURN(const Tokens tokens, Run(text, add_special_tokens, /*with_offsets=*/true));
    std::vector<EncodedToken> encoded(tokens.raw.len);
    const int32_t* pairs = tokens.raw.values + tokens.raw.len;
    for (size_t i = 0; i < encoded.size(); ++i) encoded[i] = {tokens.raw.values[i], pairs[2 * i], pairs[2 * i + 1]};
    return encoded;
  }

  StatusOr<std::string> Decode(const std::vector<int32_t>& tokens, bool skip_special_tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] < 0) return InvalidArgument("token %d: id %d is negative", i, tokens[i]);
    }
    rust::OwnedBuffer text, error;
    const int32_t code = swt_decode(handle_.get(), tokens.data(), tokens.size(), skip_special_tokens, text.out(), error.out());
    if (code != SWT_OK) return FromCode(code, error);
    return text.text();
  }

  std::unique_ptr<DecodeStream> NewDecodeStream(bool skip_special_tokens) const override {
    return std::make_unique<RustDecodeStream>(swt_stream_new(handle_.get(), skip_special_tokens));
  }

  int32_t vocab_size() const override { return vocab_size_; }

  std::optional<int32_t> TokenToId(std::string_view token) const override {
    const int32_t id = swt_tokenizer_token_to_id(handle_.get(), rust::Bytes(token), token.size());
    return id < 0 ? std::nullopt : std::optional(id);
  }

 private:
  struct Tokens {
    SwtTokens raw{nullptr, 0, 0};
    Tokens() = default;
    Tokens(Tokens&& other) noexcept : raw(std::exchange(other.raw, SwtTokens{nullptr, 0, 0})) {}
    Tokens& operator=(Tokens&&) = delete;
    ~Tokens() { swt_tokens_free(raw); }
  };

  StatusOr<Tokens> Run(std::string_view text, bool add_special_tokens, bool with_offsets) const {
    if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
      return InvalidArgument("text of %d bytes: at most %d can be encoded", text.size(), std::numeric_limits<int32_t>::max());
    }
    Tokens tokens;
    rust::OwnedBuffer error;
    const int32_t code =
        swt_encode(handle_.get(), rust::Bytes(text), text.size(), add_special_tokens, with_offsets, &tokens.raw, error.out());
    if (code != SWT_OK) return Annotate(FromCode(code, error), "text");
    return tokens;
  }

  std::unique_ptr<SwtTokenizer, rust::Deleter> handle_;
  int32_t vocab_size_;
};

}  // namespace

StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::Load(const std::string& directory) {
  const std::string path = directory + "/tokenizer.json";
  ASSIGN_OR_RETURN(const std::string json, ReadTextFile(path, kMaxTokenizerBytes));
  auto tokenizer = Parse(json);
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), path);
  return tokenizer;
}

StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::Parse(std::string_view json) {
  SwtTokenizer* handle = nullptr;
  rust::OwnedBuffer error;
  if (swt_tokenizer_new(rust::Bytes(json), json.size(), &handle, error.out()) != SWT_OK) {
    return DataLoss("not a tokenizer that can be read: %s", error.text());
  }
  return std::make_shared<const RustTokenizer>(handle);
}

}  // namespace switchyard
