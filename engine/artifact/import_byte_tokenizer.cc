#include "engine/artifact/import_byte_tokenizer.h"

#include <algorithm>
#include <vector>

#include "engine/artifact/atomic_file.h"
#include "nlohmann/json.hpp"

namespace switchyard {
namespace {

using Json = nlohmann::json;

constexpr const char* kSpecial[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
constexpr const char* kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// GPT-2's letter for each byte as UTF-8: printable bytes stand for themselves, the others for the code points from 256 on.
std::vector<std::string> ByteLetters() {
  std::vector<std::string> letters;
  int moved = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
    const int code = printable ? byte : moved++;
    std::string letter;
    if (code < 0x80) {
      letter = static_cast<char>(code);
    } else {
      letter = {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
    }
    letters.push_back(std::move(letter));
  }
  return letters;
}

// Small letters and blank first, so that the pairs that fit are the useful ones.
std::vector<std::string> LettersByUse() {
  const std::vector<std::string> letters = ByteLetters();
  auto rank = [](int byte) {
    if (byte == ' ' || (byte >= 'a' && byte <= 'z')) return 0;
    if (byte >= ' ' && byte <= '~') return 1;
    return 2;
  };
  std::vector<int> bytes(256);
  for (int i = 0; i < 256; ++i) bytes[static_cast<size_t>(i)] = i;
  std::stable_sort(bytes.begin(), bytes.end(), [&](int a, int b) { return rank(a) < rank(b); });
  std::vector<std::string> ordered;
  for (int byte : bytes) ordered.push_back(letters[static_cast<size_t>(byte)]);
  return ordered;
}

Json ByteLevel(bool add_prefix_space) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", true}};
}

Json TokenizerJson(int64_t vocabulary) {
  const std::vector<std::string> letters = LettersByUse();
  Json ids = Json::object(), added = Json::array(), merges = Json::array();
  int64_t next = 0;
  for (const char* token : kSpecial) {
    added.push_back({{"id", next},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
    ids[token] = next++;
  }
  for (const std::string& letter : letters) ids[letter] = next++;
  // Pairs of the first n letters before any pair with the next one.
  for (size_t n = 0; n < letters.size() && next < vocabulary; ++n) {
    auto add = [&](const std::string& left, const std::string& right) {
      if (next >= vocabulary) return;
      ids[left + right] = next++;
      merges.push_back(Json::array({left, right}));
    };
    for (size_t i = 0; i < n; ++i) {
      add(letters[i], letters[n]);
      add(letters[n], letters[i]);
    }
    add(letters[n], letters[n]);
  }
  Json json{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"normalizer", nullptr}, {"post_processor", nullptr}};
  json["added_tokens"] = std::move(added);
  json["pre_tokenizer"] = ByteLevel(false);
  json["decoder"] = ByteLevel(true);
  Json& bpe = json["model"];
  bpe = {{"type", "BPE"},
         {"dropout", nullptr},
         {"unk_token", nullptr},
         {"continuing_subword_prefix", nullptr},
         {"end_of_word_suffix", nullptr}};
  bpe["fuse_unk"] = bpe["byte_fallback"] = bpe["ignore_merges"] = false;
  bpe["vocab"] = std::move(ids);
  bpe["merges"] = std::move(merges);
  return json;
}

}  // namespace

Status WriteByteTokenizer(const std::string& directory, int64_t vocabulary, int64_t max_positions) {
  if (vocabulary < 259) return InvalidArgument("a vocabulary of %d: a byte tokenizer needs 259", vocabulary);
  const Json config{{"add_prefix_space", false},         {"clean_up_tokenization_spaces", false},
                    {"model_max_length", max_positions}, {"bos_token", kSpecial[1]},
                    {"eos_token", kSpecial[2]},          {"pad_token", kSpecial[2]},
                    {"chat_template", kChatMl},          {"tokenizer_class", "PreTrainedTokenizerFast"}};
  RETURN_IF_ERROR(WriteFileAtomically(directory + "/tokenizer.json", TokenizerJson(vocabulary).dump() + "\n"));
  return WriteFileAtomically(directory + "/tokenizer_config.json", config.dump(2) + "\n");
}

}  // namespace switchyard
