// A comparison as one JSON document: every figure of every artifact, undefined ones as null.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "trainer/compare/comparison.h"

namespace switchyard::trainer {

std::string ComparisonJson(const Comparison& comparison);  // docs/comparing.md has the fields

// DIRECTORY/comparison.md, comparison.json, accuracy.svg, and for each method that routes tasks-NAME.svg and load-NAME.svg (characters of
// the name that are no letter, digit, '-' or '.' become '_'). Names the files written, in that order.
StatusOr<std::vector<std::string>> WriteComparison(const Comparison& comparison, const std::string& directory);

}  // namespace switchyard::trainer
