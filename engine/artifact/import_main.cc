// switchyard-import: makes model directories out of other things.
//   switchyard-import gguf FILE OUT_DIR [--dtype bf16|f32]

#include <CLI/CLI.hpp>
#include <iostream>
#include <string>

#include "engine/artifact/import_gguf.h"

namespace switchyard {
namespace {

struct GgufArguments {
  std::string file;
  std::string directory;
  std::string dtype = "bf16";
};

void AddGguf(CLI::App& app, GgufArguments* arguments, Status* outcome) {
  CLI::App* command = app.add_subcommand("gguf", "Turn a GGUF file (Llama, Qwen2.5 or Qwen3) into a Hugging Face directory");
  command->add_option("file", arguments->file, "The GGUF file")->required();
  command->add_option("directory", arguments->directory, "The directory to make; must not exist")->required();
  command->add_option("--dtype", arguments->dtype, "Type of the weights written")->check(CLI::IsMember({"bf16", "f32"}))->capture_default_str();
  command->callback([=] {
    auto imported = ImportGguf(arguments->file, arguments->directory, arguments->dtype == "f32" ? DType::kF32 : DType::kBF16);
    *outcome = imported.status();
    if (!imported.ok()) return;
    std::cout << arguments->directory << ": " << imported->architecture << ", " << imported->layers << " layers, " << imported->parameters
              << " parameters, vocabulary " << imported->vocabulary << (imported->tied_head ? ", tied head" : "") << "\n";
  });
}

int Main(int argc, char** argv) {
  CLI::App app("Makes model directories for Switchyard");
  app.require_subcommand(1);
  Status outcome = OkStatus();
  GgufArguments gguf;
  AddGguf(app, &gguf, &outcome);
  CLI11_PARSE(app, argc, argv);
  if (!outcome.ok()) std::cerr << "switchyard-import: " << Message(outcome) << "\n";
  return outcome.ok() ? 0 : 1;
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) { return switchyard::Main(argc, argv); }
