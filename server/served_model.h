// What the services need of the model they serve. Immutable after start; shared by all calls.
#pragma once

#include <memory>
#include <string>

#include "engine/artifact/model_config.h"
#include "engine/runtime/engine.h"
#include "engine/text/tokenizer.h"

namespace switchyard {

struct ServedModel {
  Engine* engine = nullptr;  // outlives every call
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;  // null when the model has none
  GenerationDefaults defaults;
  std::string dtype;
  bool untrained = false;
};

// Everything but what the engine and the runner know: tokenizer, chat template if there is one, generation defaults. Errors name the file.
StatusOr<ServedModel> LoadServedText(const std::string& directory);

// Bounds on what one request may ask for.
struct RequestLimits {
  int32_t max_continuations = 256;
  int64_t max_prompt_text_bytes = 1 << 20;  // of a prompt before it is tokenised (GenerateRequest, RouteRequest)
  int64_t max_score_text_bytes = 16 << 20;  // of a ScoreRequest: what its contexts and continuations come to, joined pair by pair
  int32_t max_stop_strings = 16;
  int32_t max_stop_bytes = 256;
  int32_t max_top_logprobs = 20;
  int64_t max_reply_bytes = 16 << 20;  // what gRPC is told too
  int32_t max_stream_in_flight = 64;   // ScoreStream requests being worked on; more are not read
};

}  // namespace switchyard
