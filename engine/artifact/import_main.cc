// switchyard-import: makes model directories out of other things, and puts artifacts where a server looks for them.
//   switchyard-import gguf FILE OUT_DIR                  a Hugging Face directory out of a GGUF file
//   switchyard-import random-base OUT_DIR --shape NAME   a seeded random model, with a byte tokenizer
//   switchyard-import fixtures BASE OUT_DIR --expert NAME:RANK ...   seeded, untrained experts and a router for a base
//   switchyard-import publish SOURCE DESTINATION         an expert or a router into a server's artifact root, whole or not at all

#include <CLI/CLI.hpp>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <system_error>
#include <vector>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/fixtures.h"
#include "engine/artifact/import_byte_tokenizer.h"
#include "engine/artifact/import_gguf.h"
#include "engine/artifact/publish_artifact.h"

namespace switchyard {
namespace {

struct GgufArguments {
  std::string file;
  std::string directory;
  std::string dtype = "bf16";
};

Status RunGguf(const GgufArguments& arguments) {
  ASSIGN_OR_RETURN(const ImportedModel model,
                   ImportGguf(arguments.file, arguments.directory, arguments.dtype == "f32" ? DType::kF32 : DType::kBF16));
  std::cout << arguments.directory << ": " << model.architecture << ", " << model.layers << " layers, " << model.parameters
            << " parameters, vocabulary " << model.vocabulary << (model.tied_head ? ", tied head" : "") << "\n";
  return OkStatus();
}

struct RandomBaseArguments {
  std::string directory;
  std::string shape = "smollm2-135m";
  std::string dtype = "bf16";
  uint64_t seed = 1;
};

// The shapes of published models, and a tiny one for tests.
std::map<std::string, ModelConfig> Shapes() {
  auto shape = [](Architecture architecture, int32_t hidden, int32_t intermediate, int32_t layers, int32_t heads, int32_t kv_heads,
                  int32_t head_dim, int32_t vocabulary, double theta) {
    ModelConfig config;
    config.architecture = architecture;
    config.hidden_size = hidden;
    config.intermediate_size = intermediate;
    config.num_layers = layers;
    config.num_heads = heads;
    config.num_kv_heads = kv_heads;
    config.head_dim = head_dim;
    config.vocab_size = vocabulary;
    config.max_positions = 8192;
    config.rms_norm_eps = architecture == Architecture::kLlama ? 1e-5 : 1e-6;
    config.tie_embeddings = true;
    config.attention_bias = architecture == Architecture::kQwen2;
    config.qk_norm = architecture == Architecture::kQwen3;
    config.rope.theta = theta;
    config.bos_token_id = 1;
    config.eos_token_ids = {2};
    return config;
  };
  return {{"tiny", shape(Architecture::kLlama, 64, 160, 3, 4, 2, 16, 512, 1e4)},
          {"llama-3.2-3b", shape(Architecture::kLlama, 3072, 8192, 28, 24, 8, 128, 128256, 5e5)},
          {"smollm2-135m", shape(Architecture::kLlama, 576, 1536, 30, 9, 3, 64, 49152, 1e5)},
          {"llama-3.2-1b", shape(Architecture::kLlama, 2048, 8192, 16, 32, 8, 64, 128256, 5e5)},
          {"qwen2.5-0.5b", shape(Architecture::kQwen2, 896, 4864, 24, 14, 2, 64, 151936, 1e6)},
          {"qwen3-0.6b", shape(Architecture::kQwen3, 1024, 3072, 28, 16, 8, 128, 151936, 1e6)}};
}

Status RunRandomBase(const RandomBaseArguments& arguments) {
  ASSIGN_OR_RETURN(StagedDirectory staging, StagedDirectory::Create(arguments.directory));
  RandomBaseOptions options;
  options.directory = staging.path() + "/model";
  options.config = Shapes().at(arguments.shape);
  options.dtype = arguments.dtype == "f32" ? "float32" : "bfloat16";
  options.seed = arguments.seed;
  RETURN_IF_ERROR(WriteRandomBase(options));
  RETURN_IF_ERROR(WriteByteTokenizer(options.directory, options.config.vocab_size, options.config.max_positions));
  std::error_code error;
  std::filesystem::rename(options.directory, arguments.directory, error);
  if (error) return FailedPrecondition("%s: cannot be renamed: %s", arguments.directory, error.message());
  std::cout << arguments.directory << ": RANDOM weights of the shape of " << arguments.shape << ", seed " << arguments.seed << "\n";
  return OkStatus();
}

struct FixtureArguments {
  FixtureOptions options;
  std::vector<std::string> experts;  // NAME or NAME:RANK
  bool no_zero = false;
};

Status RunFixtures(FixtureArguments arguments) {
  for (const std::string& text : arguments.experts) {
    FixtureOptions::Expert expert;
    const size_t colon = text.rfind(':');
    expert.name = text.substr(0, colon);
    if (colon != std::string::npos) {
      const char* end = text.data() + text.size();
      const auto parsed = std::from_chars(text.data() + colon + 1, end, expert.rank);
      if (parsed.ec != std::errc() || parsed.ptr != end || expert.rank < 1)
        return InvalidArgument("--expert %s: expected NAME or NAME:RANK", text);
    }
    arguments.options.experts.push_back(std::move(expert));
  }
  arguments.options.include_zero = !arguments.no_zero;
  RETURN_IF_ERROR(WriteFixtures(arguments.options));
  std::cout << arguments.options.out_directory << ": " << arguments.options.experts.size() << " UNTRAINED experts and a "
            << arguments.options.router_kind << " router, top-" << arguments.options.top_k << ", seed " << arguments.options.seed << "\n";
  return OkStatus();
}

struct PublishArguments {
  std::string source, destination;
};

Status RunPublish(const PublishArguments& arguments) {
  ASSIGN_OR_RETURN(const PublishedArtifact published, PublishArtifact(arguments.source, arguments.destination));
  std::cout << arguments.destination << ": " << published.kind << ", " << published.files << " files, " << published.bytes << " bytes";
  if (!published.generation.empty()) std::cout << ", generation " << published.generation;
  std::cout << "\n";
  return OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app("Makes model directories for Switchyard, and publishes experts and routers");
  app.require_subcommand(1);
  const auto dtypes = CLI::IsMember({"bf16", "f32"});

  GgufArguments gguf;
  CLI::App* gguf_command = app.add_subcommand("gguf", "Turn a GGUF file (Llama, Qwen2.5 or Qwen3) into a Hugging Face directory");
  gguf_command->add_option("file", gguf.file, "The GGUF file")->required();
  gguf_command->add_option("directory", gguf.directory, "The directory to make; must not exist")->required();
  gguf_command->add_option("--dtype", gguf.dtype, "Type of the weights written")->check(dtypes)->capture_default_str();

  RandomBaseArguments base;
  CLI::App* base_command =
      app.add_subcommand("random-base", "Make a seeded random model of a published shape (or \"tiny\"), with a byte tokenizer");
  base_command->add_option("directory", base.directory, "The directory to make; must not exist")->required();
  std::vector<std::string> shapes;
  for (const auto& [name, config] : Shapes()) shapes.push_back(name);
  base_command->add_option("--shape", base.shape, "Whose shape")->check(CLI::IsMember(shapes))->capture_default_str();
  base_command->add_option("--dtype", base.dtype, "Type of the weights written")->check(dtypes)->capture_default_str();
  base_command->add_option("--seed", base.seed, "Same seed, same weights")->capture_default_str();

  FixtureArguments fixtures;
  CLI::App* fixtures_command = app.add_subcommand("fixtures", "Make seeded, UNTRAINED experts and a router bound to a base");
  fixtures_command->add_option("base", fixtures.options.base_directory, "The base model's directory")->required();
  fixtures_command->add_option("directory", fixtures.options.out_directory, "The directory to make; gets experts/NAME and router/")
      ->required();
  fixtures_command->add_option("--expert", fixtures.experts, "NAME or NAME:RANK; repeat for more")->required();
  fixtures_command->add_option("--router", fixtures.options.router_kind, "Kind of router")
      ->check(CLI::IsMember({"dense2moe_mlp", "linear"}))
      ->capture_default_str();
  fixtures_command->add_option("--top-k", fixtures.options.top_k, "Experts a token takes, the zero expert counted")->capture_default_str();
  fixtures_command->add_option("--weight-mode", fixtures.options.weight_mode, "Weights of the chosen experts")
      ->check(CLI::IsMember({"renorm", "raw", "one"}))
      ->capture_default_str();
  fixtures_command->add_flag("--no-zero", fixtures.no_zero, "Leave the zero expert out");
  fixtures_command->add_option("--delta-scale", fixtures.options.delta_scale, "How far an expert strays from the base")
      ->capture_default_str();
  fixtures_command->add_option("--seed", fixtures.options.seed, "Same seed, same fixtures")->capture_default_str();

  PublishArguments publish;
  CLI::App* publish_command =
      app.add_subcommand("publish", "Copy an expert or a router into a server's artifact root: verified, synced, whole or not at all");
  publish_command->add_option("source", publish.source, "The artifact's directory")->required();
  publish_command->add_option("destination", publish.destination, "The directory to make; must not exist")->required();

  CLI11_PARSE(app, argc, argv);
  const Status outcome = gguf_command->parsed()       ? RunGguf(gguf)
                         : base_command->parsed()     ? RunRandomBase(base)
                         : fixtures_command->parsed() ? RunFixtures(fixtures)
                                                      : RunPublish(publish);
  if (!outcome.ok()) std::cerr << "switchyard-import: " << Message(outcome) << "\n";
  return outcome.ok() ? 0 : 1;
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) { return switchyard::Main(argc, argv); }
