// One ScoreRequest from text to reply, for the unary call and the stream alike.
#pragma once

#include <functional>
#include <memory>

#include "server/call_common.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard {

using ScoreReply = std::function<void(StatusOr<v1::ScoreResponse>)>;

// Runs on a worker: tokenises, submits, and calls `reply` once, from a worker. Never blocks on the engine.
void RunScore(const CallContext& context, const v1::ScoreRequest& request, const CallTerms& terms, ScoreReply reply);

}  // namespace switchyard
