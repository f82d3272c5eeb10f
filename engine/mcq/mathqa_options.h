// The "options" string of a MathQA record.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

// Takes both forms in use, "a ) 38 , b ) 27.675 , c ) 30" and the printed Python list "['a ) 38', 'b ) 27.675', 'c ) 30']", and gives the
// texts without their labels; a label that the data repeats ("a ) a ) 38") goes too. INVALID_ARGUMENT says where it stops being either.
StatusOr<std::vector<std::string>> ParseMathQaOptions(std::string_view text);

}  // namespace switchyard
