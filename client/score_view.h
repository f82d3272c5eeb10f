// The scores of one request as a table: a row a continuation, a column a normalisation, the winner of each marked.
#pragma once

#include <string>
#include <vector>

#include "client/terminal.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard::client {

// `labels` name the rows. REQUIRES: as many labels as scores. Columns that no continuation has (PMI without its second term) are left out;
// "*" marks the winner by each rule.
std::string ScoreTable(const std::vector<std::string>& labels, const v1::ScoreResponse& response, const Style& style, size_t indent = 0);

}  // namespace switchyard::client
