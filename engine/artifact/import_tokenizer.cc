#include "engine/artifact/import_tokenizer.h"

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"

namespace switchyard {
namespace {

using Json = nlohmann::json;  // an ordered_json would search its 100,000 keys one after the other

// tokenizer.ggml.token_type
enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr const char* kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json ByteLevel(bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", trim_offsets}, {"use_regex", use_regex}};
}

Json Sequence(const char* key, std::vector<Json> parts) {
  Json json{{"type", "Sequence"}};
  json[key] = std::move(parts);
  return json;
}

Json SplitThenBytes(const char* pattern) {
  Json split{{"type", "Split"}};
  split["pattern"]["Regex"] = pattern;
  split["behavior"] = "Isolated";
  split["invert"] = false;
  return Sequence("pretokenizers", {split, ByteLevel(false, false)});
}

// What tokenizer.ggml.pre stands for: the parts of the published tokenizer.json files.
struct PreTokenizer {
  Json normalizer = nullptr;
  Json pre_tokenizer;
  Json post_processor = nullptr;
  bool ignore_merges = false;
  bool adds_bos = false;  // when tokenizer.ggml.add_bos_token says nothing
};

StatusOr<PreTokenizer> PreTokenizerOf(const GgufFile& file) {
  ASSIGN_OR_RETURN(const std::string pre, file.GetString("tokenizer.ggml.pre"));
  PreTokenizer parts;
  if (pre == "smollm") {
    // Digits one by one before the bytes: "2024" is four tokens.
    parts.pre_tokenizer = Sequence("pretokenizers", {Json{{"type", "Digits"}, {"individual_digits", true}}, ByteLevel(true, true)});
  } else if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
    parts.pre_tokenizer = SplitThenBytes(kLlama3Split);
    parts.post_processor = ByteLevel(false, true);
    parts.ignore_merges = true;
    parts.adds_bos = true;
  } else if (pre == "qwen2") {
    parts.normalizer = Json{{"type", "NFC"}};
    parts.pre_tokenizer = SplitThenBytes(kQwen2Split);
    parts.post_processor = ByteLevel(false, false);
  } else if (pre == "gpt-2" || pre == "default") {
    parts.pre_tokenizer = ByteLevel(true, true);
    parts.post_processor = ByteLevel(false, true);
  } else {
    return Unimplemented("%s: pre-tokenizer \"%s\" (tokenizer.ggml.pre); smollm, llama-bpe, qwen2, gpt-2 and default are supported",
                         file.path(), pre);
  }
  return parts;
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::unordered_map<std::string_view, size_t> ids;  // views into `tokens`
};

Status ReadVocabulary(const GgufFile& file, Vocabulary* vocabulary) {
  ASSIGN_OR_RETURN(vocabulary->tokens, file.GetStrings("tokenizer.ggml.tokens"));
  if (vocabulary->tokens.empty()) return DataLoss("%s: tokenizer.ggml.tokens is empty", file.path());
  vocabulary->ids.reserve(vocabulary->tokens.size());
  for (size_t id = 0; id < vocabulary->tokens.size(); ++id) {
    const auto [other, is_new] = vocabulary->ids.emplace(vocabulary->tokens[id], id);
    if (!is_new) return DataLoss("%s: tokens %d and %d are the same: \"%s\"", file.path(), other->second, id, vocabulary->tokens[id]);
  }
  return OkStatus();
}

StatusOr<Json> Merges(const GgufFile& file, const Vocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const auto merges, file.GetStrings("tokenizer.ggml.merges"));
  Json json = Json::array();
  for (size_t i = 0; i < merges.size(); ++i) {
    const size_t blank = merges[i].find(' ', 1);
    if (blank == std::string::npos)
      return DataLoss("%s: merge %d is \"%s\", expected two tokens and a blank between them", file.path(), i, merges[i]);
    std::string left = merges[i].substr(0, blank), right = merges[i].substr(blank + 1);
    for (const std::string& part : {left, right, left + right}) {
      if (!vocabulary.ids.count(part))
        return DataLoss("%s: merge %d, \"%s\": the vocabulary has no token \"%s\"", file.path(), i, merges[i], part);
    }
    json.push_back(Json::array({std::move(left), std::move(right)}));
  }
  return json;
}

// Control tokens become special ones, which decoding may skip; tokens the user defined are matched whole but stay text.
StatusOr<Json> AddedTokens(const GgufFile& file, const Vocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const auto types, file.GetInts("tokenizer.ggml.token_type"));
  if (types.size() != vocabulary.tokens.size()) {
    return DataLoss("%s: %d token types for %d tokens", file.path(), types.size(), vocabulary.tokens.size());
  }
  Json added = Json::array();
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] < kNormal || types[id] > kByte) return DataLoss("%s: token %d has the unknown type %d", file.path(), id, types[id]);
    if (types[id] != kControl && types[id] != kUserDefined) continue;
    if (vocabulary.tokens[id].empty()) return DataLoss("%s: token %d is empty", file.path(), id);
    added.push_back({{"id", id},
                     {"content", vocabulary.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", types[id] == kControl}});
  }
  return added;
}

// The token that metadata `key` names by id; nullopt when the key is absent.
StatusOr<std::optional<std::string>> NamedToken(const GgufFile& file, const std::string& key, const std::vector<std::string>& tokens) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> id, file.FindInt(key));
  if (!id) return std::optional<std::string>();
  if (*id < 0 || *id >= static_cast<int64_t>(tokens.size()))
    return DataLoss("%s: %s is %d, but there are %d tokens", file.path(), key, *id, tokens.size());
  return std::optional<std::string>(tokens[static_cast<size_t>(*id)]);
}

StatusOr<bool> Flag(const GgufFile& file, const std::string& key, bool otherwise) {
  auto entry = file.metadata().find(key);
  if (entry == file.metadata().end()) return otherwise;
  if (const bool* flag = std::get_if<bool>(&entry->second)) return *flag;
  return DataLoss("%s: metadata key \"%s\" is not a bool", file.path(), key);
}

// Puts BOS before and EOS behind, where the metadata asks for it.
StatusOr<Json> PostProcessor(const GgufFile& file, const PreTokenizer& pre, const Vocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const bool add_bos, Flag(file, "tokenizer.ggml.add_bos_token", pre.adds_bos));
  ASSIGN_OR_RETURN(const bool add_eos, Flag(file, "tokenizer.ggml.add_eos_token", false));
  if (!add_bos && !add_eos) return pre.post_processor;
  Json single = Json::array(), pair = Json::array(), special = Json::object();
  auto add_special = [&](const char* key) -> Status {
    ASSIGN_OR_RETURN(const auto token, NamedToken(file, key, vocabulary.tokens));
    if (!token) return DataLoss("%s: the tokenizer adds a token whose key \"%s\" is absent", file.path(), key);
    single.push_back({{"SpecialToken", {{"id", *token}, {"type_id", 0}}}});
    special[*token] = {{"id", *token}, {"ids", Json::array({vocabulary.ids.at(*token)})}, {"tokens", Json::array({*token})}};
    return OkStatus();
  };
  if (add_bos) RETURN_IF_ERROR(add_special("tokenizer.ggml.bos_token_id"));
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (add_eos) RETURN_IF_ERROR(add_special("tokenizer.ggml.eos_token_id"));
  for (Json piece : single) pair.push_back(piece);
  for (Json piece : single) {
    piece.begin()->at("type_id") = 1;
    if (piece.contains("Sequence")) piece["Sequence"]["id"] = "B";
    pair.push_back(piece);
  }
  Json around{{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
  if (pre.post_processor.is_null()) return around;
  return Sequence("processors", {pre.post_processor, around});
}

}  // namespace

StatusOr<Json> TokenizerJson(const GgufFile& file) {
  ASSIGN_OR_RETURN(const std::string model, file.GetString("tokenizer.ggml.model"));
  if (model != "gpt2")
    return Unimplemented("%s: tokenizer \"%s\" (tokenizer.ggml.model); only byte-level BPE (\"gpt2\") is supported", file.path(), model);
  ASSIGN_OR_RETURN(const PreTokenizer pre, PreTokenizerOf(file));
  Vocabulary vocabulary;
  RETURN_IF_ERROR(ReadVocabulary(file, &vocabulary));
  ASSIGN_OR_RETURN(Json added, AddedTokens(file, vocabulary));
  ASSIGN_OR_RETURN(Json merges, Merges(file, vocabulary));
  ASSIGN_OR_RETURN(Json post_processor, PostProcessor(file, pre, vocabulary));

  Json ids = Json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) ids[vocabulary.tokens[id]] = id;

  Json json{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  json["added_tokens"] = std::move(added);
  json["normalizer"] = pre.normalizer;
  json["pre_tokenizer"] = pre.pre_tokenizer;
  json["post_processor"] = std::move(post_processor);
  json["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  Json& bpe = json["model"];
  bpe = {{"type", "BPE"},
         {"dropout", nullptr},
         {"unk_token", nullptr},
         {"continuing_subword_prefix", nullptr},
         {"end_of_word_suffix", nullptr},
         {"fuse_unk", false},
         {"byte_fallback", false},
         {"ignore_merges", pre.ignore_merges}};
  bpe["vocab"] = std::move(ids);
  bpe["merges"] = std::move(merges);
  return json;
}

StatusOr<Json> TokenizerConfigJson(const GgufFile& file, int64_t max_positions) {
  ASSIGN_OR_RETURN(const auto tokens, file.GetStrings("tokenizer.ggml.tokens"));
  Json json{{"add_prefix_space", false}, {"clean_up_tokenization_spaces", false}, {"model_max_length", max_positions}};
  json["tokenizer_class"] = "PreTrainedTokenizerFast";
  const std::pair<const char*, const char*> names[] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                                       {"eos_token", "tokenizer.ggml.eos_token_id"},
                                                       {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                                       {"pad_token", "tokenizer.ggml.padding_token_id"}};
  for (const auto& [name, key] : names) {
    ASSIGN_OR_RETURN(const auto token, NamedToken(file, key, tokens));
    if (token) json[name] = *token;
  }
  ASSIGN_OR_RETURN(const auto chat_template, file.FindString("tokenizer.chat_template"));
  if (chat_template) json["chat_template"] = *chat_template;
  return json;
}

}  // namespace switchyard
