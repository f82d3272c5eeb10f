#include "client/eval_state.h"

#include <filesystem>

#include "absl/strings/str_format.h"
#include "engine/mcq/lines.h"
#include "nlohmann/json.hpp"

namespace switchyard::client {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// FNV-1a: the same on every machine, which std::hash does not promise.
uint64_t Hash(const std::string& text) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
  return hash;
}

std::string SetHash(const EvalSet& set) {
  Json all = Json::array();
  for (const McqQuestion& q : set.data.questions) all.push_back({q.id, q.context, q.question, q.options, q.answer});
  return absl::StrFormat("%016x", Hash(Dump(all)));
}

template <typename Named, typename Name>
std::optional<size_t> Find(const std::vector<Named>& all, const Json& line, const char* key, Name name) {
  if (!line.contains(key) || !line[key].is_string()) return std::nullopt;
  for (size_t i = 0; i < all.size(); ++i) {
    if (name(all[i]) == line[key].template get<std::string>()) return i;
  }
  return std::nullopt;
}

// False when the line is not an answer of this evaluation.
bool ReadAnswer(const Json& line, const std::vector<EvalRow>& rows, const std::vector<EvalSet>& sets, EvalAnswers* answers) {
  if (!line.is_object()) return false;
  const auto row = Find(rows, line, "row", [](const EvalRow& r) { return r.label; });
  const auto set = Find(sets, line, "set", [](const EvalSet& s) { return s.name; });
  if (!row || !set || !line.contains("index") || !line["index"].is_number_unsigned()) return false;
  const auto index = line["index"].get<size_t>();
  const auto& questions = sets[*set].data.questions;
  if (index >= questions.size() || !line.contains("id") || line["id"] != questions[index].id) return false;
  if (!line.contains("right") || !line["right"].is_object() || !line.contains("snapshot") || !line["snapshot"].is_string()) return false;
  EvalAnswer answer;
  answer.snapshot = line["snapshot"].get<std::string>();
  for (int judge = 0; judge < kEvalJudgeCount; ++judge) {
    const auto found = line["right"].find(std::string(kEvalJudgeNames[judge].id));
    if (found == line["right"].end()) continue;
    if (!found->is_boolean()) return false;
    answer.verdict[judge] = found->get<bool>();
  }
  (*answers)[{*row, *set, index}] = answer;
  return true;
}

}  // namespace

std::string EvalIdentity(const std::vector<EvalRow>& rows, const std::vector<EvalSet>& sets, const EvalJudges& judges,
                         const PromptTemplates& templates, bool truncate, const std::vector<std::string>& snapshots) {
  Json json = {{"evaluation", 1}, {"rows", Json::array()}, {"sets", Json::array()}, {"judges", Json::array()}};
  for (size_t i = 0; i < rows.size(); ++i) {
    json["rows"].push_back({{"label", rows[i].label}, {"routing", rows[i].routing}, {"snapshot", snapshots[i]}});
  }
  for (const EvalSet& set : sets) {
    json["sets"].push_back({{"name", set.name}, {"questions", set.data.questions.size()}, {"hash", SetHash(set)}});
  }
  for (int judge = 0; judge < kEvalJudgeCount; ++judge) {
    if (judges[judge]) json["judges"].push_back(std::string(kEvalJudgeNames[judge].id));
  }
  json["truncate"] = truncate;
  json["prompts"] = absl::StrFormat("%016x", Hash(Dump(Json{templates.letter, templates.text, templates.unconditional})));
  return Dump(json);
}

StatusOr<EvalState> EvalState::Open(const std::string& path, const std::string& identity, const std::vector<EvalRow>& rows,
                                    const std::vector<EvalSet>& sets, EvalAnswers* answers) {
  std::error_code error;
  uintmax_t whole = 0;
  if (std::filesystem::exists(path, error)) {
    ASSIGN_OR_RETURN(LineReader reader, LineReader::Open(path));
    while (const std::optional<Line> line = reader.Next()) {
      if (line->number == 1 && (line->complete ? line->text != identity : identity.rfind(line->text, 0) != 0)) {
        return FailedPrecondition(
            "%s belongs to another evaluation (other rows, questions, judges, prompts, --truncate or model generations). Choose another "
            "--state.\n"
            "  there: %s\n  here:  %s",
            path, line->text.substr(0, 4000), identity);
      }
      if (!line->complete) break;
      if (line->number > 1 && !ReadAnswer(Json::parse(line->text, nullptr, false), rows, sets, answers)) {
        return FailedPrecondition("%s:%d: not an answer of this evaluation. Repair the file, or choose another --state.", path,
                                  line->number);
      }
      whole += line->bytes;
    }
    if (std::filesystem::file_size(path, error) > whole && !error) std::filesystem::resize_file(path, whole, error);
    if (error) return DataLoss("%s: the torn last line cannot be cut off (%s)", path, error.message());
  }
  ASSIGN_OR_RETURN(LineAppender lines, LineAppender::Open(path, /*truncate=*/false));
  if (whole == 0) RETURN_IF_ERROR(lines.Append(identity));
  return EvalState(std::move(lines));
}

Status EvalState::Append(const EvalRow& row, const EvalSet& set, size_t question, const EvalAnswer& answer) {
  Json right = Json::object();
  for (int judge = 0; judge < kEvalJudgeCount; ++judge) {
    if (answer.verdict[judge].has_value()) right[std::string(kEvalJudgeNames[judge].id)] = *answer.verdict[judge];
  }
  return lines_.Append(Dump({{"row", row.label},
                             {"set", set.name},
                             {"index", question},
                             {"id", set.data.questions[question].id},
                             {"right", std::move(right)},
                             {"snapshot", answer.snapshot}}));
}

}  // namespace switchyard::client
