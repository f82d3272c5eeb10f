// From a request's text, tokens or chat to token ids: prompts, and contexts with their continuations.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/lm_eval_split.h"
#include "server/served_model.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard {

// The chat's text by the model's template. FAILED_PRECONDITION when the model has none; INVALID_ARGUMENT when it is empty or the template
// refuses it.
StatusOr<std::string> RenderChat(const ServedModel& model, const v1::Chat& chat);

// Token ids as given, checked against the vocabulary.
StatusOr<std::vector<TokenId>> CheckedTokens(const ServedModel& model, const v1::TokenIds& tokens, std::string_view field);

// GenerateRequest and RouteRequest have the same three kinds of prompt. `appended` is text that follows it (RouteRequest::given_text). Text
// of more than `limits.max_prompt_text_bytes` is an INVALID_ARGUMENT, found before it is tokenised.
template <typename Request>
StatusOr<std::vector<TokenId>> PromptTokens(const ServedModel& model, const RequestLimits& limits, const Request& request,
                                            const std::string& appended);

// It is echoed in every reply.
inline constexpr size_t kMaxIdBytes = 256;
Status CheckId(std::string_view id);

// The rule BOUNDARY_LM_EVAL's first half (engine/text/lm_eval_split.h); the model's BOS, else EOS, stands for an empty context.
StatusOr<LmEvalContext> PrepareLmEval(const ServedModel& model, std::string_view context);

// The rule BOUNDARY_JOINT. `prefix_special` asks the tokenizer for its own prefix (BOS) in front of the text. Both rules encode context and
// continuation together: merges, splits and added tokens may reach any way across the border, so no part of the context's own encoding can
// be reused without knowing the tokenizer.
StatusOr<LmEvalSplit> SplitJoint(const ServedModel& model, std::string_view context, std::string_view continuation, bool prefix_special);

// BOS, else EOS: what stands for an empty context. FAILED_PRECONDITION when the model has neither.
StatusOr<TokenId> PrefixToken(const ServedModel& model);

// Unicode code points of valid UTF-8.
int32_t CountCharacters(std::string_view text);
// Without blanks (space, tab, newline, carriage return) at the front.
std::string_view WithoutLeadingBlanks(std::string_view text);

// ------------------------------------------------------------------------------------------------------------------ implementation

Status CheckPromptText(const RequestLimits& limits, size_t bytes);

template <typename Request>
StatusOr<std::vector<TokenId>> PromptTokens(const ServedModel& model, const RequestLimits& limits, const Request& request,
                                            const std::string& appended) {
  std::vector<TokenId> tokens;
  RETURN_IF_ERROR(CheckPromptText(limits, request.text().size() + appended.size()));
  switch (request.prompt_case()) {
    case Request::kText: {
      const bool add_special_tokens = request.has_add_special_tokens() ? request.add_special_tokens() : true;
      ASSIGN_OR_RETURN(tokens, model.tokenizer->Encode(request.text() + appended, add_special_tokens));
      break;
    }
    case Request::kChat: {
      ASSIGN_OR_RETURN(const std::string text, RenderChat(model, request.chat()));
      RETURN_IF_ERROR(CheckPromptText(limits, text.size() + appended.size()));
      ASSIGN_OR_RETURN(tokens, model.tokenizer->Encode(text + appended, /*add_special_tokens=*/false));
      break;
    }
    case Request::kTokens: {
      ASSIGN_OR_RETURN(tokens, CheckedTokens(model, request.tokens(), "tokens"));
      if (!appended.empty()) {
        ASSIGN_OR_RETURN(const auto more, model.tokenizer->Encode(appended, /*add_special_tokens=*/false));
        tokens.insert(tokens.end(), more.begin(), more.end());
      }
      break;
    }
    default:
      return InvalidArgument("prompt: one of text, tokens and chat is required");
  }
  if (tokens.empty()) return InvalidArgument("prompt: expected at least one token, found none");
  return tokens;
}

}  // namespace switchyard
