// Sampler: from the logits of one row to the next token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"
#include "engine/runtime/tasks.h"

namespace switchyard {

// INVALID_ARGUMENT names the first setting outside its range (tasks.h).
Status ValidateSampling(const SamplingParams& params);

// Applies the settings as transformers does, in the order of SamplingParams. The draw comes from a counter-based generator over (seed,
// position): no state, so a token depends on its logits, the seed and its position, and on nothing else that runs.
//
// Used only on the engine thread; one sampler a generation. Cost: O(V), plus a sort of the tokens that top-p may keep.
class Sampler {
 public:
  // `prompt` counts for the repetition penalty.
  Sampler(const SamplingParams& params, std::span<const TokenId> prompt);

  // `position` is the new token's place in the sequence. INTERNAL when a logit is NaN or +infinity, or all are -infinity.
  // The token is remembered for the repetition penalty.
  StatusOr<TokenId> Next(std::span<const float> logits, int64_t position);

 private:
  struct Candidate {
    float logit;
    TokenId token;
  };
  void Remember(TokenId token);
  void Penalise();
  void KeepTopK();
  void KeepTopP();
  void KeepMinP();
  TokenId Draw(int64_t position);

  const SamplingParams params_;
  std::vector<bool> seen_;             // by token id; empty when there is no penalty
  std::vector<TokenId> seen_tokens_;   // each once
  std::vector<float> penalised_;       // scratch
  std::vector<Candidate> candidates_;  // scratch
};

// A uniform number in [0, 1) that depends on its arguments alone.
double CounterUniform(uint64_t seed, uint64_t position);

}  // namespace switchyard
