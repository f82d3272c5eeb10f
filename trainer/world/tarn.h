// Tarn, the mini-language of the demonstration world's programs.
//
//   expression := operator "(" arguments ")"      arguments := word { ", " word } | expression
//
// Words are lower-case letters or digits. An operator means one of: "first", "second", "third", "last" (one word of the list), "largest",
// "smallest" (of numbers), "reverse" (the list turned round) and "rotate" (its first word moved to the end). Which name means what is part
// of the world: the names say nothing.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace switchyard::trainer {

using TarnOperators = std::map<std::string, std::string>;  // name -> meaning

inline constexpr int kMaxTarnDepth = 16;

// What the expression shows: its words, joined by one space. INVALID_ARGUMENT, with the place, for anything that is not such an expression,
// for an unknown operator or meaning, for a list too short for the operator, for "largest" and "smallest" of anything but numbers of up to
// 9 digits, and for more than kMaxTarnDepth operators. Thread-safe.
StatusOr<std::string> RunTarn(std::string_view expression, const TarnOperators& operators);

// One operator by its meaning, as above. The list is not empty.
StatusOr<std::vector<std::string>> ApplyTarnOperator(std::string_view meaning, std::vector<std::string> words);

}  // namespace switchyard::trainer
