// What follows a generated text on the screen.
#pragma once

#include <string>

#include "client/terminal.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard::client {

// "42 tokens · 18.3 tok/s · end of text · 9 prompt tokens · generation 1f2e3d4c5b6a · seed 7"
std::string FinishLine(const v1::GenerateResponse::Finish& finish);

// One row a token: its log-probability and the alternatives that came with it.
std::string LogProbTable(const v1::GenerateResponse& response, const Style& style);

// The first twelve characters of a generation, or "-".
std::string ShortGeneration(const std::string& generation);

}  // namespace switchyard::client
