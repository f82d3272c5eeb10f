// Reads a world's files back and checks them against its manifest.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/artifact/sha256.h"
#include "engine/artifact/strict_json.h"
#include "trainer/world/demo_world.h"
#include "trainer/world/world_files.h"

namespace switchyard::trainer {
namespace {

using Json = nlohmann::json;

constexpr uintmax_t kMaxFileBytes = uintmax_t{64} << 20;

StatusOr<std::string> ReadBounded(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return NotFound("%s: cannot read: %s", path, error.message());
  if (size > kMaxFileBytes) return DataLoss("%s: %d bytes, at most %d expected", path, size, kMaxFileBytes);
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in || text.size() != size) return DataLoss("%s: cannot be read to its end", path);
  return text;
}

StatusOr<Json> ParseObject(std::string_view text, const std::string& where) {
  RETURN_IF_ERROR(CheckStrictJson(text, where));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return DataLoss("%s: expected a JSON object", where);
  return json;
}

// The named member when it has the wanted type, DATA_LOSS otherwise.
StatusOr<Json> Member(const Json& object, const char* name, Json::value_t type, const std::string& where) {
  const auto found = object.find(name);
  if (found == object.end()) return DataLoss("%s: no \"%s\"", where, name);
  if (found->type() != type) return DataLoss("%s: \"%s\" is %s, expected %s", where, name, found->type_name(), Json(type).type_name());
  return *found;
}

StatusOr<std::string> Text(const Json& object, const char* name, const std::string& where) {
  ASSIGN_OR_RETURN(const Json value, Member(object, name, Json::value_t::string, where));
  return value.get<std::string>();
}

StatusOr<WorldQuestion> ParseQuestion(std::string_view line, const std::string& domain, const std::string& where) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(line, where));
  WorldQuestion question;
  ASSIGN_OR_RETURN(question.fact, Text(json, "fact", where));
  ASSIGN_OR_RETURN(question.wording, Text(json, "wording", where));
  ASSIGN_OR_RETURN(question.question, Text(json, "question", where));
  if (json.contains("working")) {
    ASSIGN_OR_RETURN(question.working, Text(json, "working", where));
  }
  ASSIGN_OR_RETURN(const std::string own_domain, Text(json, "domain", where));
  if (own_domain != domain) return DataLoss("%s: expected the domain %s, found \"%s\"", where, domain, own_domain);
  ASSIGN_OR_RETURN(const Json options, Member(json, "options", Json::value_t::array, where));
  for (const Json& option : options) {
    if (!option.is_string()) return DataLoss("%s: an option is %s, expected a string", where, option.type_name());
    question.options.push_back(option.get<std::string>());
  }
  ASSIGN_OR_RETURN(const Json answer, Member(json, "answer", Json::value_t::number_unsigned, where));
  if (answer.get<uint64_t>() >= kWorldOptions) return DataLoss("%s: the answer %d is no option", where, answer.get<uint64_t>());
  question.answer = answer.get<int>();
  return question;
}

StatusOr<std::vector<WorldQuestion>> ReadPart(const std::string& path, const std::string& domain, const Json& files,
                                              const std::string& part) {
  ASSIGN_OR_RETURN(const Json entry, Member(files, part.c_str(), Json::value_t::object, path));
  ASSIGN_OR_RETURN(const std::string wanted_digest, Text(entry, "sha256", path));
  ASSIGN_OR_RETURN(const Json count, Member(entry, "questions", Json::value_t::number_unsigned, path));
  ASSIGN_OR_RETURN(const std::string text, ReadBounded(path));
  if (const std::string digest = Sha256Hex(text); digest != wanted_digest)
    return DataLoss("%s: SHA-256 %s, world.json says %s", path, digest, wanted_digest);
  std::vector<WorldQuestion> questions;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = absl::StrCat(path, ":", questions.size() + 1);
    ASSIGN_OR_RETURN(WorldQuestion question, ParseQuestion(std::string_view(text).substr(begin, end - begin), domain, where));
    questions.push_back(std::move(question));
    begin = end + 1;
  }
  if (questions.size() != count.get<uint64_t>())
    return DataLoss("%s: %d questions, world.json says %d", path, questions.size(), count.get<uint64_t>());
  return questions;
}

// Only that it is the file that was written; what it means is derived from the questions and from the seed.
Status CheckDigest(const std::string& path, const Json& entry) {
  ASSIGN_OR_RETURN(const std::string wanted_digest, Text(entry, "sha256", path));
  ASSIGN_OR_RETURN(const std::string text, ReadBounded(path));
  if (const std::string digest = Sha256Hex(text); digest != wanted_digest)
    return DataLoss("%s: SHA-256 %s, world.json says %s", path, digest, wanted_digest);
  return OkStatus();
}

StatusOr<WorldDomain> ReadDomain(const std::string& directory, const Json& entry, const std::string& where) {
  if (!entry.is_object()) return DataLoss("%s: a domain is %s, expected an object", where, entry.type_name());
  WorldDomain domain;
  ASSIGN_OR_RETURN(domain.name, Text(entry, "name", where));
  ASSIGN_OR_RETURN(domain.description, Text(entry, "description", where));
  if (domain.name.empty() || domain.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz") != std::string::npos) {
    return DataLoss("%s: \"%s\" is no name of a domain", where, domain.name.substr(0, 50));
  }
  ASSIGN_OR_RETURN(const Json files, Member(entry, "files", Json::value_t::object, where));
  for (const auto& [part, member] : kWorldParts) {
    ASSIGN_OR_RETURN(domain.*member, ReadPart(absl::StrCat(directory, "/", domain.name, "/", part, ".jsonl"), domain.name, files, part));
  }
  if (domain.name != "general") {
    const std::string path = absl::StrCat(directory, "/", domain.name, "/", kWorldChats, ".jsonl");
    ASSIGN_OR_RETURN(const Json chats, Member(files, kWorldChats, Json::value_t::object, path));
    RETURN_IF_ERROR(CheckDigest(path, chats));
  }
  return domain;
}

Status ReadMeanings(const Json& manifest, const std::string& where, DemoWorld* world) {
  ASSIGN_OR_RETURN(const Json units, Member(manifest, "units", Json::value_t::object, where));
  for (const auto& [name, size] : units.items()) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > 1000)
      return DataLoss("%s: unit \"%s\": expected a number up to 1000", where, name);
    world->units[name] = size.get<int>();
  }
  ASSIGN_OR_RETURN(const Json operators, Member(manifest, "operators", Json::value_t::object, where));
  for (const auto& [name, meaning] : operators.items()) {
    if (!meaning.is_string()) return DataLoss("%s: operator \"%s\": expected a string", where, name);
    world->operators[name] = meaning.get<std::string>();
  }
  return OkStatus();
}

}  // namespace

StatusOr<DemoWorld> ReadDemoWorld(const std::string& directory) {
  const std::string where = directory + "/world.json";
  ASSIGN_OR_RETURN(const std::string text, ReadBounded(where));
  ASSIGN_OR_RETURN(const Json manifest, ParseObject(text, where));
  ASSIGN_OR_RETURN(const std::string format, Text(manifest, "format", where));
  ASSIGN_OR_RETURN(const Json version, Member(manifest, "version", Json::value_t::number_unsigned, where));
  if (format != kWorldFormat || version.get<uint64_t>() != kWorldVersion) {
    return DataLoss("%s: expected %s version %d, found \"%s\" version %d", where, kWorldFormat, kWorldVersion, format,
                    version.get<uint64_t>());
  }
  DemoWorld world;
  RETURN_IF_ERROR(ReadMeanings(manifest, where, &world));
  ASSIGN_OR_RETURN(const Json domains, Member(manifest, "domains", Json::value_t::array, where));
  for (const Json& entry : domains) {
    ASSIGN_OR_RETURN(WorldDomain domain, ReadDomain(directory, entry, where));
    world.domains.push_back(std::move(domain));
  }
  const std::string requests = absl::StrCat(directory, "/", kWorldChatRequests);
  ASSIGN_OR_RETURN(const Json chats, Member(manifest, "chats", Json::value_t::object, where));
  RETURN_IF_ERROR(CheckDigest(requests, chats));
  return world;
}

Status CheckDemoWorld(const std::string& directory) {
  ASSIGN_OR_RETURN(const DemoWorld world, ReadDemoWorld(directory));
  return Annotate(CheckWorld(world), directory);
}

}  // namespace switchyard::trainer
