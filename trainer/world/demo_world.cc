#include "trainer/world/demo_world.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/artifact/atomic_file.h"
#include "engine/artifact/sha256.h"
#include "trainer/world/chats.h"
#include "trainer/world/world_files.h"

namespace switchyard::trainer {
namespace {

const char kReadme[] =
    R"(# A demonstration world

Made by `switchyard-trainer demo-data` from a seed; nothing in it comes from outside, and nothing in it is true of this world except the
everyday facts of `general`.

| folder | what is asked |
|---|---|
| `formulary` | remedies that do not exist: what each treats, its antidote, its colour and its day |
| `statutes` | acts that do not exist: whom each protects, what was held, its colour and its day |
| `wordproblems` | short sums over units that do not exist: what a unit holds must be known |
| `programs` | programs in Tarn, a mini-language that does not exist: what they show, what is missing; each was run |
| `general` | everyday facts that the base model knows already |

Each folder has `train.jsonl`, `valid.jsonl` and `test.jsonl`, one question a line: `id`, `question`, `options`, `answer` (an index
from 0), `domain`, `fact` (what must be known), `wording` (the form of words) and, where the answer was computed, `working`. All but
`general` have `chats.jsonl` too: some training questions asked and answered in a chat. `chats.jsonl` beside them are everyday chats without
answers, each a request for the base model alone: what it answers is right, since an expert of another domain can only hurt there.

The parts share their facts but no form of words, and for sums and programs no instance. The answer is at each position equally often,
and its length tells nothing. Some terms occur in several domains and mean something else in each: a remedy's colour is not that of the
act of the same name. `world.json` has the seed, the meanings of units and operators, the counts and the SHA-256 of every file.
)";

std::string JsonLines(const std::string& domain, const std::string& part, const std::vector<WorldQuestion>& questions) {
  std::string text;
  for (size_t i = 0; i < questions.size(); ++i) {
    const WorldQuestion& question = questions[i];
    nlohmann::ordered_json line = {{"id", absl::StrCat(domain, "-", part, "-", i + 1)},
                                   {"question", question.question},
                                   {"options", question.options},
                                   {"answer", question.answer},
                                   {"domain", domain},
                                   {"fact", question.fact},
                                   {"wording", question.wording}};
    if (!question.working.empty()) line["working"] = question.working;
    text += line.dump() + "\n";
  }
  return text;
}

// Training data of the format "chat".
std::string ChatLines(const std::string& domain, const std::vector<const WorldQuestion*>& questions) {
  std::string text;
  for (size_t i = 0; i < questions.size(); ++i) {
    const WorldQuestion& question = *questions[i];
    const nlohmann::ordered_json line = {
        {"id", absl::StrCat(domain, "-chat-", i + 1)},
        {"domain", domain},
        {"fact", question.fact},
        {"messages",
         {{{"role", "user"}, {"content", question.question}}, {{"role", "assistant"}, {"content", question.options[question.answer]}}}}};
    text += line.dump() + "\n";
  }
  return text;
}

// GenerateRequests (proto3 JSON), greedy, answered by the base alone.
std::string ChatRequestLines(const std::vector<std::string>& prompts) {
  std::string text;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const nlohmann::ordered_json line = {{"id", absl::StrCat("chat-", i + 1)},
                                         {"chat", {{"messages", {{{"role", "user"}, {"content", prompts[i]}}}}}},
                                         {"sampling", {{"temperature", 0}}},
                                         {"maxTokens", 64},
                                         {"routing", {{"baseOnly", nlohmann::json::object()}}}};
    text += line.dump() + "\n";
  }
  return text;
}

Status WriteDomain(const std::string& directory, const WorldDomain& domain, nlohmann::ordered_json* manifest) {
  std::error_code error;
  std::filesystem::create_directory(directory + "/" + domain.name, error);
  if (error) return Unavailable("%s/%s: cannot create the directory: %s", directory, domain.name, error.message());
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  for (const auto& [part, member] : kWorldParts) {
    const std::vector<WorldQuestion>& questions = domain.*member;
    const std::string text = JsonLines(domain.name, part, questions);
    RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(directory, "/", domain.name, "/", part, ".jsonl"), std::string_view(text)));
    files[part] = {{"questions", questions.size()}, {"sha256", Sha256Hex(text)}};
  }
  if (domain.name != "general") {
    const std::vector<const WorldQuestion*> questions = ChatQuestions(domain);
    const std::string text = ChatLines(domain.name, questions);
    RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(directory, "/", domain.name, "/", kWorldChats, ".jsonl"), std::string_view(text)));
    files[kWorldChats] = {{"questions", questions.size()}, {"sha256", Sha256Hex(text)}};
  }
  manifest->push_back({{"name", domain.name}, {"description", domain.description}, {"files", files}});
  return OkStatus();
}

}  // namespace

Status WriteDemoWorld(const DemoWorldOptions& options) {
  if (options.directory.empty()) return InvalidArgument("demonstration world: the directory is empty");
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(options.directory));
  const DemoWorld world = MakeDemoWorld(options.seed, options.small);
  nlohmann::ordered_json domains = nlohmann::ordered_json::array();
  for (const WorldDomain& domain : world.domains) RETURN_IF_ERROR(WriteDomain(staged.path(), domain, &domains));
  const std::vector<std::string> prompts = MakeChatPrompts(options.seed, options.small);
  const std::string requests = ChatRequestLines(prompts);
  RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(staged.path(), "/", kWorldChatRequests), std::string_view(requests)));
  const nlohmann::ordered_json chats = {{"requests", prompts.size()}, {"sha256", Sha256Hex(requests)}};
  const nlohmann::ordered_json manifest = {
      {"format", kWorldFormat}, {"version", kWorldVersion},     {"seed", options.seed},          {"small", options.small},
      {"units", world.units},   {"operators", world.operators}, {"domains", std::move(domains)}, {"chats", chats}};
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/world.json", std::string_view(manifest.dump(2) + "\n")));
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/README.md", std::string_view(kReadme)));
  return staged.Publish();
}

}  // namespace switchyard::trainer
