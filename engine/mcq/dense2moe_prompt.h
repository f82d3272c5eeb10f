// The prompt Dense2MoE trains and judges with, in our own words where its wording is free: Llama-3's header markers as plain text for every
// model, a blank line around each; an instruction that names the letters and the layout of the answer; passage, question and options.
//
//   <|begin_of_text|>\n\n<|start_header_id|>user<|end_header_id|>\n\n INSTRUCTION \n\n QUESTION \n\n<|eot_id|>\n\n
//   <|start_header_id|>assistant<|end_header_id|>\n\n
#pragma once

#include <string>

#include "engine/mcq/mcq.h"

namespace switchyard {

std::string Dense2MoePrompt(const McqQuestion& question);

// What the model learns to write after it: "Answer: C. text", a blank line and the explanation where there is one, "<|eot_id|>".
std::string Dense2MoeTarget(const McqQuestion& question);

// What is put behind the prompt when the model is asked: the answer is generated from here (greedily, at most 20 tokens) and judged by
// the rule dense2moe of generated_answer.h.
inline constexpr const char* kDense2MoeAnswerStart = "Answer:";
inline constexpr int kDense2MoeNewTokens = 20;

}  // namespace switchyard
