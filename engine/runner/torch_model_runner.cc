#include "engine/runner/torch_model_runner.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "engine/runner/query_reducer.h"
#include "engine/runner/step_routes.h"

namespace switchyard {

TorchSnapshot::TorchSnapshot(SnapshotInfo info, std::shared_ptr<const ResidentBase> base, ExpertBank bank,
                             std::shared_ptr<const Router> router)
    : info_(std::move(info)), base_(std::move(base)), bank_(std::move(bank)), router_(std::move(router)) {}

TorchModelRunner::TorchModelRunner(std::shared_ptr<const ResidentBase> base, std::shared_ptr<const Snapshot> snapshot, KvPool kv,
                                   KvGeometry geometry, MixtureAlgorithm algorithm)
    : base_(std::move(base)),
      snapshot_(std::move(snapshot)),
      kv_(std::move(kv)),
      geometry_(geometry),
      algorithm_(algorithm),
      max_positions_(std::min<int64_t>(base_->model->config.max_positions, kv_.slots())),
      decoder_(MakeDecoder(base_->compute, *base_->model, max_positions_)),
      check_(kv_.slots(), max_positions_),
      best_(base_->model->config.num_layers, kv_.slots()) {}

StatusOr<StepResult> TorchModelRunner::Run(const Step& step) {
  const auto* snapshot = dynamic_cast<const TorchSnapshot*>(step.snapshot.get());
  if (snapshot == nullptr) return Internal("the step names no snapshot of this runner");
  RETURN_IF_ERROR(check_.Check(step, snapshot->info(), snapshot->router() != nullptr));
  try {
    const c10::InferenceMode guard;
    return Compute(step, *snapshot);
  } catch (const c10::Error& error) {
    return Internal("LibTorch: %s", error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory in a step of %d rows", step.tokens.size());
  } catch (const std::exception& error) {
    return Internal("step of %d rows: %s", step.tokens.size(), error.what());
  }
}

StatusOr<StepResult> TorchModelRunner::Compute(const Step& step, const TorchSnapshot& snapshot) {
  std::vector<RaggedSegment> segments;
  segments.reserve(step.segments.size());
  for (const Segment& segment : step.segments) segments.push_back({segment.begin, segment.end, segment.slots});
  const RaggedBatch batch(step.tokens, std::move(segments));
  StepRoutes routes(step, snapshot.info(), snapshot.router(), &best_);
  std::vector<SegmentFault> faults;
  ASSIGN_OR_RETURN(const at::Tensor hidden, decoder_->Forward(batch, kv_, {&snapshot.bank(), &routes, algorithm_}, &faults));
  StepResult result;
  for (SegmentFault& fault : faults) result.failures.push_back({fault.segment, std::move(fault.status)});
  RETURN_IF_ERROR(AnswerQueries(step, hidden, *decoder_, base_->pool.get(), &result));
  routes.Finish(&result);
  return result;
}

}  // namespace switchyard
