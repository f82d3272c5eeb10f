// The routes a contestant takes over the questions with their right answers: the same tokens for every contestant.
#pragma once

#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"
#include "engine/stats/route_record.h"
#include "trainer/compare/contestant.h"
#include "trainer/compare/questions.h"

namespace switchyard::trainer {

// Prompt and right answer of every question, the sets taking turns, so that a stretch of the record is a mixture as served traffic is.
// Tasks are the sets. Probabilities are kept for the first `probability_tokens` tokens. Runs on the calling thread; nothing else may use
// `runner`.
StatusOr<RouteRecord> ObserveRoutes(ModelRunner& runner, const Contestant& contestant, const std::vector<QuestionSet>& sets,
                                    int64_t probability_tokens);

}  // namespace switchyard::trainer
