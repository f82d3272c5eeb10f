#include "client/generate_view.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "client/screen_text.h"
#include "client/table.h"

namespace switchyard::client {
namespace {

std::string Reason(const v1::GenerateResponse::Finish& finish) {
  switch (finish.reason()) {
    case v1::GenerateResponse::REASON_STOP_TOKEN:
      return "end of text";
    case v1::GenerateResponse::REASON_STOP_STRING:
      return "stopped at \"" + OneLine(finish.stop_string(), 24) + "\"";
    case v1::GenerateResponse::REASON_LENGTH:
      return "token limit";
    default:
      return "no reason given";
  }
}

}  // namespace

std::string ShortGeneration(const std::string& generation) { return generation.empty() ? "-" : OneLine(generation.substr(0, 12)); }

std::string FinishLine(const v1::GenerateResponse::Finish& finish) {
  std::string line = absl::StrFormat("%d tokens · %.1f tok/s · %s · %d prompt tokens · generation %s · seed %d",
                                     finish.usage().generated_tokens(), finish.timings().tokens_per_second(), Reason(finish),
                                     finish.usage().prompt_tokens(), ShortGeneration(finish.generations().snapshot()), finish.seed());
  if (finish.truncated_tokens() > 0) line += absl::StrFormat(" · %d oldest prompt tokens dropped", finish.truncated_tokens());
  return line;
}

std::string LogProbTable(const v1::GenerateResponse& response, const Style& style) {
  Table table({{"token", Align::kLeft}, {"id"}, {"log-prob"}, {"p"}, {"most likely", Align::kLeft}});
  for (const v1::TokenLogProbs& token : response.logprobs()) {
    std::string alternatives;
    for (const auto& other : token.top()) {
      if (!alternatives.empty()) alternatives += "  ";
      alternatives += absl::StrFormat("\"%s\" %.3f", OneLine(other.text(), 16), other.logprob());
    }
    table.AddRow({"\"" + OneLine(token.text(), 20) + "\"", std::to_string(token.token()), absl::StrFormat("%.4f", token.logprob()),
                  absl::StrFormat("%.3f", std::exp(token.logprob())), alternatives});
  }
  return table.Render(style);
}

}  // namespace switchyard::client
