#include "engine/artifact/model_config.h"

#include "nlohmann/json.hpp"
#include "tests/artifact/artifact_testing.h"

namespace switchyard {
namespace {
using absl::StatusCode;
using Json = nlohmann::json;

Json Llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 8},
          {"num_key_value_heads", 2},
          {"vocab_size", 100},
          {"max_position_embeddings", 128},
          {"rms_norm_eps", 1e-5},
          {"hidden_act", "silu"},
          {"rope_theta", 5e5},
          {"transformers_version", "5.0"}};
}
StatusOr<ModelConfig> Parse(const Json& json) { return ParseModelConfig(json.dump(), "config.json"); }
StatusOr<ModelConfig> With(const std::string& key, const Json& value) {
  Json json = Llama();
  json[key] = value;
  return Parse(json);
}

TEST(ModelConfig, ReadsLlama) {
  const auto c = Parse(Llama());
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->architecture, Architecture::kLlama);
  EXPECT_EQ(c->head_dim, 8);
  EXPECT_EQ(c->num_kv_heads, 2);
  EXPECT_EQ(c->rope.theta, 5e5);
  EXPECT_EQ(c->rms_norm_eps, 1e-5);
  EXPECT_FALSE(c->attention_bias || c->qk_norm || c->tie_embeddings || c->mlp_bias);
}

TEST(ModelConfig, ReadsQwen) {
  Json json = Llama();
  json["architectures"] = {"Qwen2ForCausalLM"};
  json["model_type"] = "qwen2";
  const auto two = Parse(json);
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_TRUE(two->attention_bias);
  EXPECT_FALSE(two->attention_output_bias);
  json["architectures"] = {"Qwen3ForCausalLM"};
  json["model_type"] = "qwen3";
  const auto three = Parse(json);
  ASSERT_TRUE(three.ok()) << three.status();
  EXPECT_TRUE(three->qk_norm);
  EXPECT_EQ(three->head_dim, 128);
}

TEST(ModelConfig, ReadsTheGoldenModels) {
  for (const char* name : {"llama", "llama_tied", "qwen2", "qwen3"}) {
    const auto c = ReadModelConfig(std::string("tests/golden/model/") + name + "/model");
    EXPECT_TRUE(c.ok()) << c.status();
  }
}

TEST(ModelConfig, BothSpellingsOfRopeAndTheirContradictions) {
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 64}};
  const auto old_style = With("rope_scaling", llama3);
  ASSERT_TRUE(old_style.ok()) << old_style.status();
  EXPECT_EQ(old_style->rope.llama3->factor, 8.0);
  Json json = Llama();
  json.erase("rope_theta");
  json["rope_parameters"] = llama3;
  json["rope_parameters"]["rope_theta"] = 123.0;
  const auto new_style = Parse(json);
  ASSERT_TRUE(new_style.ok()) << new_style.status();
  EXPECT_EQ(new_style->rope.theta, 123.0);
  EXPECT_EQ(new_style->rope.llama3->original_max_positions, 64);
  json["rope_theta"] = 124.0;
  ExpectRefused(Parse(json).status(), StatusCode::kDataLoss, {"rope_theta", "124", "123"});
  json["rope_theta"] = 123.0;
  json["rope_scaling"] = llama3;
  EXPECT_TRUE(Parse(json).ok());
  json["rope_scaling"]["factor"] = 9.0;
  ExpectRefused(Parse(json).status(), StatusCode::kDataLoss, {"rope_scaling and rope_parameters contradict"});
  const auto linear = With("rope_scaling", {{"type", "linear"}, {"factor", 2.0}});
  ASSERT_TRUE(linear.ok()) << linear.status();
  EXPECT_EQ(linear->rope.linear_factor, 2.0);
  for (const char* type : {"yarn", "longrope", "dynamic"}) {
    ExpectRefused(With("rope_scaling", {{"rope_type", type}, {"factor", 2.0}}).status(), StatusCode::kUnimplemented,
                  {"rope_type", type, "llama3"});
  }
  Json part = llama3;
  part.erase("low_freq_factor");
  ExpectRefused(With("rope_scaling", part).status(), StatusCode::kDataLoss, {"low_freq_factor", "missing"});
}

TEST(ModelConfig, RefusesByNameWhatChangesTheMathematics) {
  const std::vector<std::pair<std::string, Json>> refused = {{"use_sliding_window", true},
                                                             {"layer_types", {"full_attention", "sliding_attention"}},
                                                             {"quantization_config", {{"bits", 4}}},
                                                             {"mlp_bias", true},
                                                             {"hidden_act", "gelu"},
                                                             {"pretraining_tp", 2},
                                                             {"new_mathematics", 3},
                                                             {"partial_rotary_factor", 0.5},
                                                             {"rope_interleaved", true},
                                                             {"model_type", "mistral"}};
  for (const auto& [key, value] : refused) {
    SCOPED_TRACE(key);
    ExpectRefused(With(key, value).status(), StatusCode::kUnimplemented, {"config.json", key == "layer_types" ? "sliding_attention" : key});
  }
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, Json>>{{"future_flag", false}, {"future_note", "text"}, {"future", nullptr}}) {
    EXPECT_TRUE(With(key, value).ok()) << key;
  }
}

TEST(ModelConfig, RangesAndTypes) {
  const std::vector<std::pair<std::string, Json>> bad = {{"hidden_size", 0},
                                                         {"hidden_size", -64},
                                                         {"hidden_size", 1e9},
                                                         {"hidden_size", "64"},
                                                         {"hidden_size", 18446744073709551615u},
                                                         {"num_hidden_layers", 100000},
                                                         {"vocab_size", 2147483648},
                                                         {"intermediate_size", 1.5},
                                                         {"head_dim", 7},
                                                         {"num_key_value_heads", 3},
                                                         {"rms_norm_eps", -1},
                                                         {"rms_norm_eps", "x"},
                                                         {"tie_word_embeddings", 1},
                                                         {"rope_theta", 0},
                                                         {"eos_token_id", -1},
                                                         {"eos_token_id", {{"a", 1}}},
                                                         {"hidden_size", 65}};
  for (const auto& [key, value] : bad) {
    SCOPED_TRACE(key + " = " + value.dump());
    const Status status = With(key, value).status();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(Message(status)), testing::HasSubstr(key));
  }
  Json json = Llama();
  json.erase("vocab_size");
  ExpectRefused(Parse(json).status(), StatusCode::kDataLoss, {"vocab_size", "missing"});
}

TEST(ModelConfig, HostileJson) {
  ExpectRefused(ParseModelConfig("", "c").status(), StatusCode::kDataLoss, {"c:"});
  ExpectRefused(ParseModelConfig("[]", "c").status(), StatusCode::kDataLoss, {"object"});
  std::string twice = Llama().dump();
  twice.insert(1, "\"hidden_size\":32,");
  ExpectRefused(ParseModelConfig(twice, "c").status(), StatusCode::kDataLoss, {"\"hidden_size\" appears twice"});
  std::string deep = Llama().dump();
  deep.insert(1, "\"x\":" + std::string(2000000, '[') + std::string(2000000, ']') + ",");
  ExpectRefused(ParseModelConfig(deep, "c").status(), StatusCode::kDataLoss, {"nested too deeply"});
}

TEST(ModelConfig, GenerationConfig) {
  TempDirectory dir;
  Json json = Llama();
  json["eos_token_id"] = 5;
  WriteText(dir / "config.json", json.dump());
  EXPECT_EQ(ReadModelConfig(dir.path())->eos_token_ids, std::vector<int32_t>{5});
  WriteText(dir / "generation_config.json", R"({"eos_token_id":[2,3],"temperature":0.6,"top_k":20,"top_p":0.9,"do_sample":true})");
  EXPECT_EQ(ReadModelConfig(dir.path())->eos_token_ids, (std::vector<int32_t>{2, 3}));
  const auto defaults = ReadGenerationDefaults(dir.path());
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->top_k, 20);
  EXPECT_EQ(defaults->temperature, 0.6f);
  EXPECT_FALSE(defaults->min_p.has_value());
  WriteText(dir / "generation_config.json", R"({"temperature":-1})");
  ExpectRefused(ReadGenerationDefaults(dir.path()).status(), StatusCode::kDataLoss, {"generation_config.json", "temperature"});
  WriteText(dir / "generation_config.json", R"({"eos_token_id":100})");
  ExpectRefused(ReadModelConfig(dir.path()).status(), StatusCode::kDataLoss, {"100", "vocabulary"});
}

}  // namespace
}  // namespace switchyard
