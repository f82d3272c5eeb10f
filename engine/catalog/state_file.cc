#include "engine/catalog/state_file.h"

#include <nlohmann/json.hpp>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/strict_json.h"

namespace switchyard {
namespace {
using Json = nlohmann::ordered_json;

constexpr int kFormatVersion = 1;
constexpr size_t kMaxText = 8192;

std::string Short(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 120); }

// One object of the file: takes its fields one by one, then refuses what is left.
class Fields {
 public:
  static StatusOr<Fields> Of(const Json& json, const std::string& where) {
    if (!json.is_object()) return DataLoss("%s: expected an object, found %s", where, Short(json));
    return Fields(json, where);
  }

  StatusOr<std::string> Text(const char* key) {
    ASSIGN_OR_RETURN(const Json* value, Take(key));
    if (!value->is_string() || value->get_ref<const std::string&>().size() > kMaxText) return Wrong(key, "text", *value);
    return value->get<std::string>();
  }
  StatusOr<uint64_t> Whole(const char* key) {
    ASSIGN_OR_RETURN(const Json* value, Take(key));
    if (!value->is_number_unsigned()) return Wrong(key, "a whole number", *value);
    return value->get<uint64_t>();
  }
  StatusOr<double> Share(const char* key) {
    ASSIGN_OR_RETURN(const Json* value, Take(key));
    if (!value->is_number() || !(value->get<double>() >= 0 && value->get<double>() <= 1)) return Wrong(key, "a number from 0 to 1", *value);
    return value->get<double>();
  }
  StatusOr<const Json*> List(const char* key, size_t most) {
    ASSIGN_OR_RETURN(const Json* value, Take(key));
    if (!value->is_array() || value->size() > most) return Wrong(key, "a list of at most " + std::to_string(most), *value);
    return value;
  }
  StatusOr<const Json*> Take(const char* key) {
    const auto found = json_->find(key);
    if (found == json_->end()) return DataLoss("%s: \"%s\" is missing", where_, key);
    ++taken_;
    return &*found;
  }
  // Keys are unique (the strict reader has seen to it), so counting is enough to know that one is left.
  Status End() const {
    return taken_ == json_->size() ? OkStatus()
                                   : Unimplemented("%s: has a field that format_version %d does not know", where_, kFormatVersion);
  }

 private:
  Fields(const Json& json, std::string where) : json_(&json), where_(std::move(where)) {}
  Status Wrong(const char* key, const std::string& expected, const Json& found) const {
    return DataLoss("%s: \"%s\": expected %s, found %s", where_, key, expected, Short(found));
  }
  const Json* json_;
  std::string where_;
  size_t taken_ = 0;
};

Json ToJson(const std::vector<NamedArtifact>& artifacts) {
  Json list = Json::array();
  for (const NamedArtifact& a : artifacts) list.push_back({{"name", a.name}, {"directory", a.directory}, {"generation", a.generation}});
  return list;
}

Json ToJson(const CatalogContent& content) {
  Json roles = Json::object();
  for (const RouterRole role : kRouterRoles)
    roles[RoleName(role)] = {{"router", content.role(role).router}, {"share", content.role(role).share}};
  return {{"experts", ToJson(content.experts)}, {"routers", ToJson(content.routers)}, {"roles", roles}};
}

StatusOr<std::vector<NamedArtifact>> ParseArtifacts(const Json& list, const std::string& where) {
  std::vector<NamedArtifact> artifacts;
  for (const Json& entry : list) {
    ASSIGN_OR_RETURN(Fields fields, Fields::Of(entry, absl::StrFormat("%s[%d]", where, artifacts.size())));
    NamedArtifact artifact;
    ASSIGN_OR_RETURN(artifact.name, fields.Text("name"));
    ASSIGN_OR_RETURN(artifact.directory, fields.Text("directory"));
    ASSIGN_OR_RETURN(artifact.generation, fields.Text("generation"));
    RETURN_IF_ERROR(fields.End());
    artifacts.push_back(std::move(artifact));
  }
  return artifacts;
}

StatusOr<CatalogContent> ParseContent(const Json& json, const std::string& where) {
  ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, where));
  CatalogContent content;
  for (const auto& [key, kind] : {std::pair{"experts", ArtifactKind::kExpert}, std::pair{"routers", ArtifactKind::kRouter}}) {
    ASSIGN_OR_RETURN(const Json* list, fields.List(key, kMaxArtifactNames));
    ASSIGN_OR_RETURN(content.list(kind), ParseArtifacts(*list, where + "." + key));
  }
  ASSIGN_OR_RETURN(const Json* roles_json, fields.Take("roles"));
  RETURN_IF_ERROR(fields.End());
  ASSIGN_OR_RETURN(Fields roles, Fields::Of(*roles_json, where + ".roles"));
  for (const RouterRole role : kRouterRoles) {
    ASSIGN_OR_RETURN(const Json* holder_json, roles.Take(RoleName(role)));
    ASSIGN_OR_RETURN(Fields holder, Fields::Of(*holder_json, where + ".roles." + RoleName(role)));
    ASSIGN_OR_RETURN(content.role(role).router, holder.Text("router"));
    ASSIGN_OR_RETURN(content.role(role).share, holder.Share("share"));
    RETURN_IF_ERROR(holder.End());
  }
  RETURN_IF_ERROR(roles.End());
  // Content that makes no sense is a broken file here, not the caller's fault.
  if (const Status status = CheckContent(content); !status.ok()) return DataLoss("%s: %s", where, Message(status));
  return content;
}

}  // namespace

std::string StateText(const DesiredState& state) {
  Json history = Json::array();
  for (const PastContent& past : state.history) history.push_back({{"revision", past.revision}, {"content", ToJson(past.content)}});
  const Json json = {{"format_version", kFormatVersion},
                     {"revision", state.revision},
                     {"base_generation", state.base_generation},
                     {"content", ToJson(state.content)},
                     {"history", history}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

StatusOr<DesiredState> ParseState(std::string_view text, const std::string& where) {
  if (text.size() > kMaxStateBytes) return DataLoss("%s: expected at most %d bytes, found %d", where, kMaxStateBytes, text.size());
  RETURN_IF_ERROR(CheckStrictJson(text, where));
  const Json json = Json::parse(text, nullptr, false);
  ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, where));
  ASSIGN_OR_RETURN(const uint64_t version, fields.Whole("format_version"));
  if (version != kFormatVersion) return Unimplemented("%s: \"format_version\": expected %d, found %d", where, kFormatVersion, version);
  DesiredState state;
  ASSIGN_OR_RETURN(state.revision, fields.Whole("revision"));
  ASSIGN_OR_RETURN(state.base_generation, fields.Text("base_generation"));
  ASSIGN_OR_RETURN(const Json* content, fields.Take("content"));
  ASSIGN_OR_RETURN(state.content, ParseContent(*content, where + ": content"));
  ASSIGN_OR_RETURN(const Json* history, fields.List("history", kMaxHistory));
  RETURN_IF_ERROR(fields.End());
  for (const Json& entry : *history) {
    const std::string at = absl::StrFormat("%s: history[%d]", where, state.history.size());
    ASSIGN_OR_RETURN(Fields past, Fields::Of(entry, at));
    PastContent parsed;
    ASSIGN_OR_RETURN(parsed.revision, past.Whole("revision"));
    ASSIGN_OR_RETURN(const Json* old, past.Take("content"));
    ASSIGN_OR_RETURN(parsed.content, ParseContent(*old, at));
    RETURN_IF_ERROR(past.End());
    const uint64_t least = state.history.empty() ? 0 : state.history.back().revision + 1;
    if (parsed.revision < least || parsed.revision >= state.revision) {
      return DataLoss("%s: \"revision\": expected rising revisions below %d, found %d", at, state.revision, parsed.revision);
    }
    state.history.push_back(std::move(parsed));
  }
  return state;
}

StatusOr<DesiredState> ReadState(FileSystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(files, path, kMaxStateBytes));
  return ParseState(text, path);
}

Status WriteState(FileSystem& files, const std::string& path, const DesiredState& state) {
  const auto before = ReadWholeFile(files, path, kMaxStateBytes);
  const Status written = WriteFileAtomically(path, StateText(state), &files);
  if (written.ok()) return OkStatus();
  // Only a failure after the rename leaves the new text there; then the old one is put back.
  const auto after = ReadWholeFile(files, path, kMaxStateBytes);
  const bool untouched = before.ok() ? after.ok() && *after == *before : after.status().code() == absl::StatusCode::kNotFound;
  if (untouched) return written;
  if (before.ok() && WriteFileAtomically(path, *before, &files).ok()) return written;
  return Status(written.code(), absl::StrFormat("%s; the file may hold the refused revision %d now", Message(written), state.revision));
}

}  // namespace switchyard
