#include "server/served_model.h"

namespace switchyard {

StatusOr<ServedModel> LoadServedText(const std::string& directory) {
  ServedModel model;
  ASSIGN_OR_RETURN(model.tokenizer, Tokenizer::Load(directory));
  auto chat = ChatTemplate::Load(directory);
  if (chat.ok()) {
    model.chat_template = *chat;
  } else if (chat.status().code() != absl::StatusCode::kNotFound) {
    return chat.status();
  }
  ASSIGN_OR_RETURN(model.defaults, ReadGenerationDefaults(directory));
  return model;
}

}  // namespace switchyard
