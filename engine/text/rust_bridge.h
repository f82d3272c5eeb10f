// The C ABI of engine/text/rust (its ffi.rs), and C++ owners for what it returns. Only this room includes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

extern "C" {

struct SwtTokenizer;
struct SwtStream;
struct SwtTemplate;

struct SwtBuffer {
  uint8_t* data;
  size_t len;
};

// `values`: `len` ids, then (only when offsets were asked for) `len` pairs of begin and end.
struct SwtTokens {
  int32_t* values;
  size_t total;
  size_t len;
};

// Every int32_t result: SWT_OK, or a code with a message in `out_error`, which the caller frees.
enum : int32_t { SWT_OK = 0, SWT_ERROR = 1, SWT_PANIC = 2, SWT_LIMIT = 3 };

void swt_buffer_free(SwtBuffer buffer);
void swt_tokens_free(SwtTokens tokens);
size_t swt_invalid_utf8(const uint8_t* data, size_t len);

int32_t swt_tokenizer_new(const uint8_t* json, size_t len, SwtTokenizer** out, SwtBuffer* out_error);
void swt_tokenizer_free(SwtTokenizer* tokenizer);
size_t swt_tokenizer_vocab_size(const SwtTokenizer* tokenizer);
int32_t swt_tokenizer_token_to_id(const SwtTokenizer* tokenizer, const uint8_t* token, size_t len);
int32_t swt_encode(const SwtTokenizer* tokenizer, const uint8_t* text, size_t len, bool add_special_tokens, bool with_offsets,
                   SwtTokens* out, SwtBuffer* out_error);
int32_t swt_decode(const SwtTokenizer* tokenizer, const int32_t* tokens, size_t len, bool skip_special_tokens, SwtBuffer* out,
                   SwtBuffer* out_error);

SwtStream* swt_stream_new(const SwtTokenizer* tokenizer, bool skip_special_tokens);
void swt_stream_free(SwtStream* stream);
int32_t swt_stream_step(SwtStream* stream, uint32_t token, SwtBuffer* out, SwtBuffer* out_error);
int32_t swt_stream_flush(SwtStream* stream, SwtBuffer* out, SwtBuffer* out_error);

int32_t swt_template_new(const uint8_t* source, size_t len, uint64_t fuel, size_t max_output_bytes, SwtTemplate** out,
                         SwtBuffer* out_error);
void swt_template_free(SwtTemplate* chat_template);
int32_t swt_template_render(const SwtTemplate* chat_template, const uint8_t* variables, size_t len, int64_t local_seconds, SwtBuffer* out,
                            SwtBuffer* out_error);
}  // extern "C"

namespace switchyard::rust {

inline const uint8_t* Bytes(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

// Frees a buffer of the Rust side; `text()` copies it out.
class OwnedBuffer {
 public:
  OwnedBuffer() = default;
  OwnedBuffer(const OwnedBuffer&) = delete;
  OwnedBuffer& operator=(const OwnedBuffer&) = delete;
  ~OwnedBuffer() { swt_buffer_free(buffer_); }
  SwtBuffer* out() { return &buffer_; }
  std::string text() const {
    return buffer_.len == 0 ? std::string() : std::string(reinterpret_cast<const char*>(buffer_.data), buffer_.len);
  }

 private:
  SwtBuffer buffer_{nullptr, 0};
};

// A deleter for std::unique_ptr over the handles above.
struct Deleter {
  void operator()(SwtTokenizer* handle) const { swt_tokenizer_free(handle); }
  void operator()(SwtStream* handle) const { swt_stream_free(handle); }
  void operator()(SwtTemplate* handle) const { swt_template_free(handle); }
};

}  // namespace switchyard::rust
