#include "engine/artifact/import_gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>

#include "engine/artifact/import_model.h"
#include "engine/artifact/import_tokenizer.h"
#include "engine/artifact/safetensors.h"
#include "engine/text/tokenizer.h"
#include "nlohmann/json.hpp"
#include "tests/artifact/gguf_builder.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_gguf::GgufBuilder;
using testing_gguf::Raw;
using Code = absl::StatusCode;

// GPT-2's letters for all bytes, in byte order.
std::vector<std::string> ByteLetters() {
  std::vector<std::string> letters;
  int moved = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const int code = printable ? byte : 256 + moved++;
    letters.push_back(code < 0x80 ? std::string(1, static_cast<char>(code))
                                  : std::string{static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))});
  }
  return letters;
}

// A tiny model of any of the three architectures, whose parts a test may leave out, add to or change before it is written.
struct TinyModel {
  std::string arch = "llama";
  uint32_t hidden = 8, intermediate = 12, layers = 2, heads = 2, kv_heads = 1, head_dim = 4;
  std::string pre = "smollm";
  std::vector<std::string> tokens{"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::vector<int32_t> types{3, 3, 3};
  std::vector<std::string> merges{"2 0", "t h", "th e", "\xc4\xa0 the"};
  std::function<void(GgufBuilder&)> more_values = [](GgufBuilder&) {};
  std::function<void(GgufBuilder&)> more_tensors = [](GgufBuilder&) {};
  std::set<std::string> without;
  bool output = false;
  bool adds_bos = false;
  float poison = 0;  // put into blk.1.ffn_up.weight when not 0

  std::map<std::string, std::vector<float>> weights;  // by Hugging Face name, in Hugging Face's row order

  TinyModel() {
    for (const std::string& letter : ByteLetters()) tokens.push_back(letter);
    for (const char* merged : {"20", "th", "the", "\xc4\xa0the"}) tokens.push_back(merged);
    tokens.push_back("<think>");
    types.resize(tokens.size(), 1);
    types.back() = 4;
  }

  // llama.cpp's converter: reshape(heads, 2, rows / heads / 2, columns).swapaxes(1, 2).
  static std::vector<float> PermuteAsLlamaCpp(const std::vector<float>& w, size_t heads, size_t columns) {
    const size_t rows = w.size() / columns, half = rows / heads / 2;
    std::vector<float> out;
    for (size_t head = 0; head < heads; ++head) {
      for (size_t i = 0; i < half; ++i) {
        for (size_t side = 0; side < 2; ++side) {
          const size_t row = (head * 2 + side) * half + i;
          out.insert(out.end(), w.begin() + static_cast<ptrdiff_t>(row * columns), w.begin() + static_cast<ptrdiff_t>((row + 1) * columns));
        }
      }
    }
    return out;
  }

  std::string Build() {
    GgufBuilder b;
    const std::string a = arch + ".";
    auto value = [&](const std::string& key, const std::function<void()>& write) {
      if (!without.count(key)) write();
    };
    b.Str("general.architecture", arch);
    for (auto [key, number] : std::map<std::string, uint32_t>{{"block_count", layers},
                                                              {"context_length", 64},
                                                              {"embedding_length", hidden},
                                                              {"feed_forward_length", intermediate},
                                                              {"attention.head_count", heads},
                                                              {"attention.head_count_kv", kv_heads},
                                                              {"attention.key_length", head_dim}}) {
      value(a + key, [&] { b.U32(a + key, number); });
    }
    b.F32(a + "attention.layer_norm_rms_epsilon", 1e-5f).F32(a + "rope.freq_base", 100000.0f);
    b.Str("tokenizer.ggml.model", "gpt2").Strs("tokenizer.ggml.tokens", tokens).I32s("tokenizer.ggml.token_type", types);
    b.Strs("tokenizer.ggml.merges", merges).U32("tokenizer.ggml.bos_token_id", 1).U32("tokenizer.ggml.eos_token_id", 2);
    value("tokenizer.ggml.pre", [&] { b.Str("tokenizer.ggml.pre", pre); });
    b.Bool("tokenizer.ggml.add_bos_token", adds_bos).Str("tokenizer.chat_template", "{{ messages[0].content }}");
    more_values(b);
    WriteTensors(b);
    more_tensors(b);
    return b.Build();
  }

 private:
  void WriteTensors(GgufBuilder& b) {
    std::mt19937 random(3);
    auto add = [&](const std::string& gguf, const std::string& name, uint64_t columns, uint64_t rows, size_t permuted = 0) {
      std::vector<float> w(columns * std::max<uint64_t>(rows, 1));
      for (float& x : w) x = static_cast<float>(static_cast<int32_t>(random() % 20001) - 10000) / 7000.0f;
      if (poison != 0 && gguf == "blk.1.ffn_up.weight") w[columns * 3 + 1] = poison;
      weights[name] = w;
      if (without.count(gguf)) return;
      const std::vector<uint64_t> dimensions = rows == 0 ? std::vector<uint64_t>{columns} : std::vector<uint64_t>{columns, rows};
      b.F32Tensor(gguf, dimensions, permuted == 0 ? w : PermuteAsLlamaCpp(w, permuted, rows == 0 ? 1 : columns));
    };
    const bool permutes = arch == "llama";
    add("token_embd.weight", "model.embed_tokens.weight", hidden, tokens.size());
    add("output_norm.weight", "model.norm.weight", hidden, 0);
    if (output) add("output.weight", "lm_head.weight", hidden, tokens.size());
    for (uint32_t layer = 0; layer < layers; ++layer) {
      const std::string from = "blk." + std::to_string(layer) + ".", to = "model.layers." + std::to_string(layer) + ".";
      add(from + "attn_norm.weight", to + "input_layernorm.weight", hidden, 0);
      add(from + "attn_q.weight", to + "self_attn.q_proj.weight", hidden, heads * head_dim, permutes ? heads : 0);
      add(from + "attn_k.weight", to + "self_attn.k_proj.weight", hidden, kv_heads * head_dim, permutes ? kv_heads : 0);
      add(from + "attn_v.weight", to + "self_attn.v_proj.weight", hidden, kv_heads * head_dim);
      add(from + "attn_output.weight", to + "self_attn.o_proj.weight", heads * head_dim, hidden);
      if (arch == "qwen2") {
        add(from + "attn_q.bias", to + "self_attn.q_proj.bias", heads * head_dim, 0);
        add(from + "attn_k.bias", to + "self_attn.k_proj.bias", kv_heads * head_dim, 0);
        add(from + "attn_v.bias", to + "self_attn.v_proj.bias", kv_heads * head_dim, 0);
      }
      if (arch == "qwen3") {
        add(from + "attn_q_norm.weight", to + "self_attn.q_norm.weight", head_dim, 0);
        add(from + "attn_k_norm.weight", to + "self_attn.k_norm.weight", head_dim, 0);
      }
      add(from + "ffn_norm.weight", to + "post_attention_layernorm.weight", hidden, 0);
      add(from + "ffn_gate.weight", to + "mlp.gate_proj.weight", hidden, intermediate);
      add(from + "ffn_up.weight", to + "mlp.up_proj.weight", hidden, intermediate);
      add(from + "ffn_down.weight", to + "mlp.down_proj.weight", intermediate, hidden);
    }
  }
};

class ImportGgufTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "/import_XXXXXX";
    ASSERT_NE(mkdtemp(root_.data()), nullptr);
    out_ = root_ + "/model";
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  StatusOr<ImportedModel> Import(TinyModel& model, DType dtype = DType::kF32) {
    auto file = GgufFile::Parse(std::make_shared<const std::string>(model.Build()), "tiny.gguf");
    EXPECT_TRUE(file.ok()) << file.status();
    return ImportGguf(**file, out_, dtype);
  }

  void ExpectRefused(TinyModel model, Code code, const std::string& message) {
    auto imported = Import(model);
    EXPECT_EQ(imported.status().code(), code) << imported.status() << ", expected: " << message;
    EXPECT_THAT(std::string(Message(imported.status())), HasSubstr(message));
    EXPECT_TRUE(std::filesystem::is_empty(root_)) << "something was left behind";
  }

  nlohmann::json ReadJson(const std::string& name) {
    std::ifstream file(out_ + "/" + name);
    return nlohmann::json::parse(file);
  }

  std::string root_, out_;
};

TEST_F(ImportGgufTest, PermutationIsUndone) {
  // Written out by hand for one head of six rows: the converter puts rows 0..5 in the order 0 3 1 4 2 5.
  const std::vector<float> permuted = TinyModel::PermuteAsLlamaCpp({0, 1, 2, 3, 4, 5}, 1, 1);
  EXPECT_THAT(permuted, ElementsAre(0, 3, 1, 4, 2, 5));
  for (int64_t row = 0; row < 6; ++row) EXPECT_EQ(permuted[static_cast<size_t>(PermutedRow(row, 6, 1))], row);
  std::vector<float> rows(48);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i);
  const std::vector<float> many = TinyModel::PermuteAsLlamaCpp(rows, 3, 1);
  for (int64_t row = 0; row < 48; ++row) EXPECT_EQ(many[static_cast<size_t>(PermutedRow(row, 48, 3))], row);
}

TEST_F(ImportGgufTest, WeightsOfEveryArchitectureComeBackExactly) {
  for (const char* arch : {"llama", "qwen2", "qwen3"}) {
    for (bool output : {false, true}) {
      TinyModel model;
      model.arch = arch;
      model.output = output;
      auto imported = Import(model);
      ASSERT_TRUE(imported.ok()) << arch << imported.status();
      EXPECT_EQ(imported->tied_head, !output);
      auto set = SafetensorsSet::OpenModelDirectory(out_);
      ASSERT_TRUE(set.ok()) << set.status();
      ASSERT_EQ((*set)->tensors().size(), model.weights.size());
      int64_t parameters = 0;
      for (const auto& [name, expected] : model.weights) {
        auto tensor = (*set)->Get(name);
        ASSERT_TRUE(tensor.ok()) << tensor.status();
        EXPECT_EQ(tensor->dtype, DType::kF32);
        std::vector<float> values(tensor->data.size() / 4);
        std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
        EXPECT_EQ(values, expected) << arch << " " << name;
        parameters += static_cast<int64_t>(values.size());
      }
      EXPECT_EQ(imported->parameters, parameters);
      EXPECT_EQ(ReadJson("config.json")["tie_word_embeddings"], !output);
      std::filesystem::remove_all(out_);
    }
  }
}

TEST_F(ImportGgufTest, BFloat16IsTheRoundedWeight) {
  TinyModel model;
  ASSERT_TRUE(Import(model, DType::kBF16).ok());
  auto set = SafetensorsSet::OpenModelDirectory(out_);
  ASSERT_TRUE(set.ok()) << set.status();
  for (const auto& [name, expected] : model.weights) {
    const TensorView tensor = *(*set)->Get(name);
    ASSERT_EQ(tensor.dtype, DType::kBF16);
    for (size_t i = 0; i < expected.size(); ++i) {
      uint16_t bits = 0;
      std::memcpy(&bits, tensor.data.data() + 2 * i, 2);
      const float value = std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
      ASSERT_LE(std::abs(value - expected[i]), std::ldexp(std::abs(expected[i]), -8)) << name;
    }
  }
  EXPECT_EQ(ReadJson("config.json")["torch_dtype"], "bfloat16");
  EXPECT_EQ(Import(model, DType::kI8).status().code(), Code::kInvalidArgument);
}

TEST_F(ImportGgufTest, ConfigSaysWhatTheMetadataSaid) {
  TinyModel model;
  model.more_values = [](GgufBuilder& b) { b.U32("tokenizer.ggml.padding_token_id", 2).U32("tokenizer.ggml.eot_token_id", 0); };
  ASSERT_TRUE(Import(model).ok());
  const nlohmann::json config = ReadJson("config.json");
  EXPECT_EQ(config["architectures"], nlohmann::json::array({"LlamaForCausalLM"}));
  EXPECT_EQ(config["hidden_size"], 8);
  EXPECT_EQ(config["num_key_value_heads"], 1);
  EXPECT_EQ(config["head_dim"], 4);
  EXPECT_EQ(config["rms_norm_eps"], 1e-05);  // not 9.99999974e-06
  EXPECT_EQ(config["rope_theta"], 100000.0);
  EXPECT_TRUE(config["rope_scaling"].is_null());
  EXPECT_EQ(config["bos_token_id"], 1);
  EXPECT_EQ(config["vocab_size"], model.tokens.size());
  EXPECT_EQ(ReadJson("generation_config.json")["eos_token_id"], nlohmann::json({2, 0}));
  const nlohmann::json tokenizer = ReadJson("tokenizer_config.json");
  EXPECT_EQ(tokenizer["eos_token"], "<|im_end|>");
  EXPECT_EQ(tokenizer["chat_template"], "{{ messages[0].content }}");
}

TEST_F(ImportGgufTest, Llama3ScalingIsRecognisedByItsDivisors) {
  auto divisors = [](double factor) {
    std::vector<float> values;
    for (int i = 0; i < 2; ++i) {
      const double wavelength = 2 * M_PI * std::pow(100000.0, 2.0 * i / 4);  // 6.3 and 1987: the second is in between
      const double smooth = (8192 / wavelength - 1) / 3;
      values.push_back(static_cast<float>(wavelength < 2048 ? 1.0 : wavelength > 8192 ? factor : 1 / ((1 - smooth) / factor + smooth)));
    }
    return values;
  };
  TinyModel model;
  model.head_dim = 8;  // 2 pi 100000^(6/8) = 35333: scaled fully
  model.more_tensors = [&](GgufBuilder& b) { b.F32Tensor("rope_freqs.weight", {4}, {1.0f, 1.0f, 1.0f, 32.0f}); };
  ASSERT_EQ(divisors(32.0), (std::vector<float>{1.0f, 1.0f}));
  ASSERT_TRUE(Import(model).ok());
  EXPECT_EQ(ReadJson("config.json")["rope_scaling"]["rope_type"], "llama3");
  EXPECT_EQ(ReadJson("config.json")["rope_scaling"]["factor"], 32.0);
  std::filesystem::remove_all(out_);
  model.more_tensors = [](GgufBuilder& b) { b.F32Tensor("rope_freqs.weight", {4}, {1.0f, 2.0f, 1.0f, 32.0f}); };
  ExpectRefused(model, Code::kUnimplemented, "\"rope_freqs.weight\": value 1 is 2");
  model.more_tensors = [](GgufBuilder& b) { b.F32Tensor("rope_freqs.weight", {2}, {1.0f, 32.0f}); };
  ExpectRefused(model, Code::kDataLoss, "expected F32 of 4 values");
}

TEST_F(ImportGgufTest, LinearScalingIsKeptAndOthersRefused) {
  TinyModel model;
  model.more_values = [](GgufBuilder& b) { b.Str("llama.rope.scaling.type", "linear").F32("llama.rope.scaling.factor", 2.0f); };
  ASSERT_TRUE(Import(model).ok());
  EXPECT_EQ(ReadJson("config.json")["rope_scaling"], nlohmann::json({{"rope_type", "linear"}, {"factor", 2.0}}));
  std::filesystem::remove_all(out_);
  model.more_values = [](GgufBuilder& b) { b.Str("llama.rope.scaling.type", "yarn"); };
  ExpectRefused(model, Code::kUnimplemented, "rope scaling \"yarn\"");
}

TEST_F(ImportGgufTest, OtherModelsAreRefusedByName) {
  TinyModel model;
  model.arch = "gemma2";
  ExpectRefused(model, Code::kUnimplemented, "architecture \"gemma2\"");
  model = {};
  model.more_values = [](GgufBuilder& b) { b.U32("llama.expert_count", 8); };
  ExpectRefused(model, Code::kUnimplemented, "llama.expert_count = 8");
  model.more_values = [](GgufBuilder& b) { b.F32("llama.logit_scale", 0.5f); };
  ExpectRefused(model, Code::kUnimplemented, "llama.logit_scale = 0.5");
  model.more_values = [](GgufBuilder& b) { b.U32("llama.rope.dimension_count", 2); };
  ExpectRefused(model, Code::kUnimplemented, "rotary embedding over 2 of 4");
  model.more_values = [](GgufBuilder& b) { b.U32("llama.attention.value_length", 6); };
  ExpectRefused(model, Code::kUnimplemented, "value heads of 6");
  model = {};
  model.pre = "tekken";
  ExpectRefused(model, Code::kUnimplemented, "pre-tokenizer \"tekken\"");
}

TEST_F(ImportGgufTest, WrongMetadataIsRefused) {
  TinyModel model;
  for (const char* key : {"llama.block_count", "llama.embedding_length", "tokenizer.ggml.pre"}) {
    model = {};
    model.without = {key};
    ExpectRefused(model, Code::kNotFound, std::string("no metadata key \"") + key);
  }
  model = {};
  model.without = {"llama.block_count"};
  model.more_values = [](GgufBuilder& b) { b.U32("llama.block_count", 100'000'000); };
  ExpectRefused(model, Code::kDataLoss, "llama.block_count is 100000000");
  model.more_values = [](GgufBuilder& b) { b.U32("llama.block_count", 0); };
  ExpectRefused(model, Code::kDataLoss, "llama.block_count is 0");
  model = {};
  model.more_values = [](GgufBuilder& b) { b.U32("llama.vocab_size", 7); };
  ExpectRefused(model, Code::kDataLoss, "llama.vocab_size is 7");
  model = {};
  model.kv_heads = 3;
  ExpectRefused(model, Code::kDataLoss, "not a multiple of 3");
}

TEST_F(ImportGgufTest, WrongTensorsAreRefused) {
  TinyModel model;
  model.without = {"blk.1.ffn_up.weight"};
  ExpectRefused(model, Code::kDataLoss, "no tensor \"blk.1.ffn_up.weight\", expected shape [12, 8]");
  model.more_tensors = [](GgufBuilder& b) { b.F32Tensor("blk.1.ffn_up.weight", {12, 8}, std::vector<float>(96, 1)); };
  ExpectRefused(model, Code::kDataLoss, "expected shape [12, 8], found [8, 12]");
  model = {};
  model.more_tensors = [](GgufBuilder& b) { b.F32Tensor("blk.0.surprise", {1}, {1}); };
  ExpectRefused(model, Code::kDataLoss, "\"blk.0.surprise\" [1] has no place");
  model = {};
  model.poison = std::nanf("");
  ExpectRefused(model, Code::kDataLoss, "\"blk.1.ffn_up.weight\": row 3 has a value that is not finite");
  model.poison = INFINITY;
  ExpectRefused(model, Code::kDataLoss, "not finite");
  model = {};
  model.more_tensors = [](GgufBuilder& b) { b.F32Tensor("blk.0.attn_q.bias", {8}, std::vector<float>(8, 1)); };
  ExpectRefused(model, Code::kUnimplemented, "biases on some of the attention projections");
}

TEST_F(ImportGgufTest, WrongTokenizersAreRefused) {
  TinyModel model;
  model.tokens[5] = model.tokens[6];
  ExpectRefused(model, Code::kDataLoss, "tokens 5 and 6 are the same");
  model = {};
  model.types.pop_back();
  ExpectRefused(model, Code::kDataLoss, "token types for");
  model = {};
  model.types[7] = 9;
  ExpectRefused(model, Code::kDataLoss, "token 7 has the unknown type 9");
  model = {};
  model.merges.push_back("nothing");
  ExpectRefused(model, Code::kDataLoss, "merge 4 is \"nothing\"");
  model.merges.back() = "x y";
  ExpectRefused(model, Code::kDataLoss, "no token \"xy\"");
  model = {};
  model.more_values = [](GgufBuilder& b) { b.U32("tokenizer.ggml.padding_token_id", 100'000); };
  ExpectRefused(model, Code::kDataLoss, "tokenizer.ggml.padding_token_id is 100000");
  model = {};
  model.tokens[9] = "bad \xff";
  ExpectRefused(model, Code::kDataLoss, "not valid UTF-8");
}

TEST_F(ImportGgufTest, AnExistingDirectoryIsLeftAlone) {
  TinyModel model;
  std::filesystem::create_directory(out_);
  EXPECT_EQ(Import(model).status().code(), Code::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::is_empty(out_));
}

class ImportedTokenizerTest : public ImportGgufTest {
 protected:
  std::shared_ptr<const Tokenizer> ImportTokenizer(TinyModel model) {
    auto imported = Import(model);
    EXPECT_TRUE(imported.ok()) << imported.status();
    auto tokenizer = Tokenizer::Load(out_);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    std::filesystem::remove_all(out_);
    return *tokenizer;
  }
  static std::vector<std::string> Pieces(const Tokenizer& tokenizer, const std::string& text) {
    std::vector<std::string> pieces;
    const std::vector<int32_t> ids = *tokenizer.Encode(text, true);
    for (int32_t id : ids) pieces.push_back(*tokenizer.Decode({id}, false));
    return pieces;
  }
};

TEST_F(ImportedTokenizerTest, SmollmSplitsDigitsOneByOne) {
  auto tokenizer = ImportTokenizer({});
  EXPECT_THAT(Pieces(*tokenizer, "2024"), ElementsAre("2", "0", "2", "4"));  // although "2 0" is a merge
  EXPECT_THAT(Pieces(*tokenizer, "the the"), ElementsAre("the", " the"));
}

TEST_F(ImportedTokenizerTest, OtherPreTokenizersKeepDigitsTogether) {
  for (const char* pre : {"gpt-2", "default", "llama-bpe"}) {
    TinyModel model;
    model.pre = pre;
    EXPECT_THAT(Pieces(*ImportTokenizer(model), "2024"), ElementsAre("20", "2", "4")) << pre;
  }
  TinyModel model;
  model.pre = "qwen2";
  auto tokenizer = ImportTokenizer(model);
  EXPECT_THAT(Pieces(*tokenizer, "2024"), ElementsAre("2", "0", "2", "4"));
  EXPECT_EQ(*tokenizer->Encode("e\xcc\x81", true), *tokenizer->Encode("\xc3\xa9", true));  // NFC
}

TEST_F(ImportedTokenizerTest, ControlTokensAreSpecialAndUserDefinedOnesAreNot) {
  auto tokenizer = ImportTokenizer({});
  EXPECT_THAT(*tokenizer->Encode("<|im_start|><|im_end|>", true), ElementsAre(1, 2));
  const int32_t think = *tokenizer->TokenToId("<think>");
  EXPECT_THAT(*tokenizer->Encode("<think>", true), ElementsAre(think));
  EXPECT_EQ(*tokenizer->Decode({1, think, 2}, /*skip_special_tokens=*/true), "<think>");
}

TEST_F(ImportedTokenizerTest, BosIsAddedWhereTheMetadataSaysSo) {
  TinyModel model;
  EXPECT_THAT(*ImportTokenizer(model)->Encode("", true), ElementsAre());
  model.adds_bos = true;
  for (const char* pre : {"smollm", "llama-bpe", "qwen2"}) {
    model.pre = pre;
    EXPECT_THAT(*ImportTokenizer(model)->Encode("", true), ElementsAre(1)) << pre;
    EXPECT_THAT(*ImportTokenizer(model)->Encode("", false), ElementsAre()) << pre;
  }
}

TEST_F(ImportedTokenizerTest, EosIsAddedWhereTheMetadataSaysSo) {
  TinyModel model;
  model.more_values = [](GgufBuilder& b) { b.Bool("tokenizer.ggml.add_eos_token", true); };
  EXPECT_THAT(*ImportTokenizer(model)->Encode("", true), ElementsAre(2));
}

}  // namespace
}  // namespace switchyard
