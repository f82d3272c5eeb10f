// The same requests made both ways: straight into an Engine, and through gRPC into a server around that engine.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "server/call_common.h"
#include "switchyard/v1/inference.grpc.pb.h"

namespace switchyard::bench {

// What one call came to.
struct CallOutcome {
  double engine_ms = 0;         // from the engine's acceptance to its last result, as the engine says: the rest is the way there and back
  std::vector<double> figures;  // token ids or log-probabilities: both ways must give the same
};
// Makes request number `index` and waits for its answer. Called from several threads at once. Ends the program on an error.
using Call = std::function<CallOutcome(int index)>;

// Where the calls go. All of it outlives them.
struct Ends {
  const ServedModel* model = nullptr;
  v1::Inference::Stub* stub = nullptr;
};

// One kind of request, `count` of them, both ways.
struct CallPair {
  std::string name;
  Call in_process, over_grpc;
  int streamed_tokens = 0;  // of one call; 0: unary
};

// 200 tokens of context and four continuations of 10. In process: a task of token ids, log-probabilities back.
CallPair ScoreOfTokens(const Ends& ends, int count);
// The same sizes, nearly, as text. In process: the server's own preparation (PrepareScore), then the task.
CallPair ScoreOfText(const Ends& ends, int count);
// 32 tokens of prompt, 64 greedy ones streamed. In process: token ids both ways; the server turns tokens into text whether asked or not.
CallPair GenerateFromTokens(const Ends& ends, int count, RoutingPolicy::Mode mode);
// The same from text. In process: the prompt is encoded, and every token goes through a decode stream.
CallPair GenerateFromText(const Ends& ends, int count, RoutingPolicy::Mode mode);
// 200 tokens; a summary comes back.
CallPair RouteOfTokens(const Ends& ends, int count, RoutingPolicy::Mode mode);

}  // namespace switchyard::bench
