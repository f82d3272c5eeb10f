// The decoder over a ragged batch: rows of many sequences end to end; linear layers and experts see one matrix, attention sees segments.
//
// T rows of a step, H hidden size, V vocabulary, P positions a segment sees.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/expert_bank.h"
#include "engine/experts/mixture.h"
#include "engine/model/base_model.h"
#include "engine/model/kv_pool.h"
#include "engine/model/rope.h"
#include "engine/routing/layer_routes.h"
#include "engine/tensor/compute.h"

namespace switchyard {

// Rows [begin, end); `slots` [P] are the KV slots of positions 0 .. P-1, the rows' own last.
struct RaggedSegment {
  int32_t begin = 0;
  int32_t end = 0;
  std::span<const int32_t> slots;
};

// One step's rows. The caller has checked ranges: tokens inside the vocabulary, segments covering [0, T), slots inside the pool.
class RaggedBatch {
 public:
  RaggedBatch(std::span<const int32_t> tokens, std::vector<RaggedSegment> segments);
  int64_t rows() const { return static_cast<int64_t>(tokens_.size()); }
  std::span<const int32_t> tokens() const { return tokens_; }
  const std::vector<RaggedSegment>& segments() const { return segments_; }
  const std::vector<int32_t>& positions() const { return positions_; }  // [T]
  const std::vector<int32_t>& row_slots() const { return row_slots_; }  // [T] where the row's own key and value go
  int32_t SegmentOfRow(int64_t row) const;

 private:
  std::span<const int32_t> tokens_;
  std::vector<RaggedSegment> segments_;
  std::vector<int32_t> positions_, row_slots_;
};

// A segment in which a value was not finite; the status is INTERNAL.
struct SegmentFault {
  int32_t segment = 0;
  Status status;
};

// Chooses the experts of every row of one layer. Called once a layer, in layer order, on the engine thread.
class RouteSource {
 public:
  virtual ~RouteSource() = default;
  // x [T, H]: the normalised input of the feed-forward block. Fills `routes` for all T rows.
  virtual Status Route(int32_t layer, const at::Tensor& x, LayerRoutes* routes) = 0;
};

// What one step computes with beside the base.
struct MixtureContext {
  const ExpertBank* bank = nullptr;
  RouteSource* routes = nullptr;
  MixtureAlgorithm algorithm = MixtureAlgorithm::kSingleDown;
};

// Used only on the engine thread. Owns its work space; shares model and compute, which must outlive it.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // Writes keys and values of the rows into their slots and returns the hidden states after the last layer, [T, H], final norm not applied.
  // A segment with a value that is not finite is added to `faults`, and goes on as zeros: no other row sees it.
  virtual StatusOr<at::Tensor> Forward(const RaggedBatch& batch, KvPool& kv, const MixtureContext& mixture,
                                       std::vector<SegmentFault>* faults) = 0;
  // Final norm and vocabulary projection of some rows: hidden [R, H] -> [R, V] f32.
  virtual at::Tensor Logits(const at::Tensor& hidden) = 0;
};

// Positions a sequence may reach: `max_positions` rows of the rope table.
std::unique_ptr<Decoder> MakeDecoder(const Compute& compute, const BaseModel& model, int64_t max_positions);

// The two implementations, chosen by compute.backend.
std::unique_ptr<Decoder> MakeReferenceDecoder(const Compute& compute, const BaseModel& model, RopeTable rope);
std::unique_ptr<Decoder> MakeFastDecoder(const Compute& compute, const BaseModel& model, RopeTable rope);

// Segments of `hidden` [T, H] f32 or bf16 in which a value is NaN or infinite: all their rows become zeros, in `normed` (may be null: the
// same rows after a norm) as well, and `faults` gets an INTERNAL naming `layer`, row and position. One pass over the bits when all is well.
void IsolateNotFinite(at::Tensor& hidden, at::Tensor* normed, const RaggedBatch& batch, int32_t layer, std::vector<SegmentFault>* faults);

}  // namespace switchyard
