// Any bytes as a request from the wire: the first byte chooses the call, the rest is the message. Parsed as the services parse it, then its
// routing, levels and pins held against a snapshot, and its text put back into a reply.

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/routing_request.h"
#include "server/wire.h"
#include "switchyard/v1/inference.pb.h"

namespace {

using namespace switchyard;

SnapshotInfo Snapshot() {
  SnapshotInfo info;
  info.num_layers = 2;
  info.max_positions = 64;
  info.router_kind = "linear";
  info.experts.resize(3);
  for (size_t i = 0; i < info.experts.size(); ++i) info.experts[i].name = "e" + std::to_string(i);
  return info;
}

// What the runtime relies on.
void CheckPolicy(const RoutingPolicy& policy, const SnapshotInfo& info) {
  const auto experts = static_cast<int>(info.experts.size());
  if (policy.mode == RoutingPolicy::Mode::kForced && policy.forced >= experts) std::abort();
  if (policy.replay_experts.size() != policy.replay_weights.size()) std::abort();
  for (const ExpertIndex expert : policy.replay_experts) {
    if (expert != kNoExpert && (expert < 0 || expert >= experts)) std::abort();
  }
}

template <typename Request>
void Try(const uint8_t* data, size_t size) {
  static const SnapshotInfo info = Snapshot();
  const grpc::Slice slice(data, size);
  Request request;
  if (!ParseRequest(grpc::ByteBuffer(&slice, 1), &request).ok()) return;
  const auto policy = PolicyOf(request.routing(), info);
  if (policy.ok()) CheckPolicy(*policy, info);
  (void)CheckPins(request.pinned(), info).ok();
  // An error's text travels in a reply, which must be UTF-8 whatever the caller sent.
  Request echo;
  echo.set_id(AsUtf8(std::string(Message(policy.status()))));
  std::string bytes;
  if (!echo.SerializeToString(&bytes) || !echo.ParseFromString(bytes)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  switch (data[0] % 3) {
    case 0:
      Try<v1::GenerateRequest>(data + 1, size - 1);
      break;
    case 1:
      Try<v1::RouteRequest>(data + 1, size - 1);
      break;
    default:
      Try<v1::ScoreRequest>(data + 1, size - 1);
  }
  return 0;
}
