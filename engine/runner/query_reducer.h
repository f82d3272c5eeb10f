// Answers the queries of a step: the vocabulary projection for the rows that are asked for, in chunks, reduced at once.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/base/status.h"
#include "engine/kernels/thread_pool.h"
#include "engine/model/decoder.h"
#include "engine/runtime/model_runner.h"

namespace switchyard {

// hidden [T, H]: after the last layer, before the final norm. Fills logits, logprobs and top_logprobs of `result`; rows nobody asks for
// cost nothing. INTERNAL names the row whose logits are not finite. `pool` spreads the reduction over rows; null: the caller's thread.
Status AnswerQueries(const Step& step, const at::Tensor& hidden, Decoder& decoder, kernels::ThreadPool* pool, StepResult* result);

}  // namespace switchyard
