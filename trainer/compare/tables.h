// A comparison as Markdown tables. docs/comparing.md says how to read each.
#pragma once

#include <string>

#include "trainer/compare/comparison.h"

namespace switchyard::trainer {

std::string AccuracyTable(const Comparison& comparison);
std::string BalanceTable(const Comparison& comparison, bool with_zero);         // Table 1
std::string AblationTable(const Comparison& comparison);                        // Table 2; empty without ablations
std::string SpecialisationTable(const Comparison& comparison, bool with_zero);  // Table 5
std::string TaskTable(const Comparison& comparison);                            // of Table 5: expert by task
std::string CostTable(const Comparison& comparison);                            // Table 6

// All of them, with what was compared above.
std::string ComparisonMarkdown(const Comparison& comparison);

}  // namespace switchyard::trainer
