#include "engine/text/chat_template.h"

#include <utility>

#include "engine/text/text_files.h"
#include "nlohmann/json.hpp"

namespace switchyard {
namespace {

constexpr size_t kMaxConfigBytes = size_t{64} << 20;
constexpr const char* kSpecialTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

// A special token is a string or an object with its "content"; null means there is none.
StatusOr<std::map<std::string, std::string>> SpecialTokens(const nlohmann::json& config, const std::string& path) {
  std::map<std::string, std::string> tokens;
  for (const char* name : kSpecialTokens) {
    auto field = config.find(name);
    if (field == config.end() || field->is_null()) continue;
    const nlohmann::json* content = &*field;
    if (field->is_object()) {
      auto inner = field->find("content");
      if (inner != field->end()) content = &*inner;
    }
    if (!content->is_string())
      return DataLoss("%s: %s: expected a string or an object with \"content\", found %s", path, name, field->type_name());
    tokens.emplace(name, content->get<std::string>());
  }
  return tokens;
}

// chat_template of tokenizer_config.json: a string, or a list of {"name", "template"}.
StatusOr<std::string> TemplateOf(const nlohmann::json& config, const std::string& path) {
  auto field = config.find("chat_template");
  if (field == config.end() || field->is_null()) return NotFound("%s: no chat_template, and no chat_template.jinja beside it", path);
  if (field->is_string()) return field->get<std::string>();
  if (!field->is_array()) return DataLoss("%s: chat_template: expected a string or a list, found %s", path, field->type_name());
  std::string names;
  for (const nlohmann::json& entry : *field) {
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() || !entry.contains("template") ||
        !entry["template"].is_string()) {
      return DataLoss("%s: chat_template: each entry of the list needs the strings \"name\" and \"template\"", path);
    }
    if (entry["name"] == "default") return entry["template"].get<std::string>();
    names += " " + entry["name"].get<std::string>();
  }
  return NotFound("%s: chat_template has no entry \"default\", only:%s", path, names);
}

}  // namespace

StatusOr<std::shared_ptr<const ChatTemplate>> ChatTemplate::Load(const std::string& directory) {
  const std::string config_path = directory + "/tokenizer_config.json";
  nlohmann::json config = nlohmann::json::object();
  auto read = ReadJsonObject(config_path, kMaxConfigBytes);
  if (read.ok()) {
    config = *std::move(read);
  } else if (read.status().code() != absl::StatusCode::kNotFound) {
    return read.status();
  }
  ASSIGN_OR_RETURN(auto special_tokens, SpecialTokens(config, config_path));

  std::string path = directory + "/chat_template.jinja";
  auto source = ReadTextFile(path, kMaxConfigBytes);
  if (!source.ok() && source.status().code() == absl::StatusCode::kNotFound) {
    path = config_path;
    source = TemplateOf(config, path);
  }
  if (!source.ok()) return source.status();
  auto made = JinjaChatTemplate::Create(*source, std::move(special_tokens), ChatTemplateOptions{});
  if (!made.ok()) return Annotate(made.status(), path);
  return *std::move(made);
}

StatusOr<std::shared_ptr<const JinjaChatTemplate>> JinjaChatTemplate::Create(std::string_view source,
                                                                             std::map<std::string, std::string> special_tokens,
                                                                             const ChatTemplateOptions& options) {
  SwtTemplate* handle = nullptr;
  rust::OwnedBuffer error;
  if (swt_template_new(rust::Bytes(source), source.size(), options.fuel, options.max_output_bytes, &handle, error.out()) != SWT_OK) {
    return DataLoss("the chat template cannot be compiled: %s", error.text());
  }
  return std::shared_ptr<const JinjaChatTemplate>(new JinjaChatTemplate(handle, std::move(special_tokens), options.local_seconds));
}

StatusOr<std::string> JinjaChatTemplate::Render(const std::vector<ChatTurn>& messages, bool add_generation_prompt) const {
  nlohmann::ordered_json turns = nlohmann::ordered_json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(CheckUtf8(messages[i].role, absl::StrFormat("messages[%d].role", i)));
    RETURN_IF_ERROR(CheckUtf8(messages[i].content, absl::StrFormat("messages[%d].content", i)));
    nlohmann::ordered_json turn;
    turn["role"] = messages[i].role;
    turn["content"] = messages[i].content;
    turns.push_back(std::move(turn));
  }
  nlohmann::ordered_json context;
  for (const auto& [name, token] : special_tokens_) context[name] = token;
  context["messages"] = std::move(turns);
  context["tools"] = nullptr;
  context["documents"] = nullptr;
  context["add_generation_prompt"] = add_generation_prompt;
  return RenderContext(context.dump());
}

StatusOr<std::string> JinjaChatTemplate::RenderVariables(std::string_view variables_json) const {
  auto context = nlohmann::ordered_json::parse(variables_json.begin(), variables_json.end(), nullptr, /*allow_exceptions=*/false);
  if (!context.is_object()) return InvalidArgument("chat template variables: expected a JSON object");
  for (const auto& [name, token] : special_tokens_) context.emplace(name, token);
  return RenderContext(context.dump());
}

StatusOr<std::string> JinjaChatTemplate::RenderContext(std::string_view context_json) const {
  rust::OwnedBuffer text, error;
  switch (swt_template_render(handle_.get(), rust::Bytes(context_json), context_json.size(), local_seconds_.value_or(-1), text.out(),
                              error.out())) {
    case SWT_OK:
      return text.text();
    case SWT_LIMIT:
      return ResourceExhausted("%s", error.text());
    case SWT_PANIC:
      return Internal("chat template: %s", error.text());
    default:
      return InvalidArgument("chat template: %s", error.text());
  }
}

}  // namespace switchyard
