// How often a contestant is right, through the engine that serves.
#pragma once

#include <array>
#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/engine.h"
#include "engine/stats/interval.h"
#include "trainer/compare/contestant.h"
#include "trainer/compare/judge.h"
#include "trainer/compare/questions.h"

namespace switchyard::trainer {

using Accuracy = std::array<std::vector<Proportion>, kJudgeCount>;  // [judge][sets]; trials: questions for which the judge is defined

// Scores every question of every set; blocks until all are answered. The first error ends it.
StatusOr<Accuracy> MeasureAccuracy(Engine& engine, const Contestant& contestant, const std::vector<QuestionSet>& sets);

}  // namespace switchyard::trainer
