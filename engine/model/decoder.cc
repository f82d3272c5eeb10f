#include "engine/model/decoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace switchyard {

namespace {

// True when every one of n values has an exponent that is not all ones. Reads bits: no branch, no temporary.
template <typename Bits>
bool AllFinite(const void* data, int64_t n, Bits exponent) {
  const Bits* values = static_cast<const Bits*>(data);
  int bad = 0;
  for (int64_t i = 0; i < n; ++i) bad |= (values[i] & exponent) == exponent;
  return bad == 0;
}

bool RowFinite(const at::Tensor& hidden, int64_t row, int64_t count) {
  const int64_t width = hidden.size(1);
  const char* data = static_cast<const char*>(hidden.const_data_ptr()) + row * width * static_cast<int64_t>(hidden.element_size());
  return hidden.scalar_type() == at::kFloat ? AllFinite<uint32_t>(data, count * width, 0x7f800000u)
                                            : AllFinite<uint16_t>(data, count * width, 0x7f80);
}

}  // namespace

RaggedBatch::RaggedBatch(std::span<const int32_t> tokens, std::vector<RaggedSegment> segments)
    : tokens_(tokens), segments_(std::move(segments)), positions_(tokens.size()), row_slots_(tokens.size()) {
  for (const RaggedSegment& segment : segments_) {
    const int32_t first = static_cast<int32_t>(segment.slots.size()) - (segment.end - segment.begin);
    for (int32_t row = segment.begin; row < segment.end; ++row) {
      positions_[row] = first + row - segment.begin;
      row_slots_[row] = segment.slots[positions_[row]];
    }
  }
}

int32_t RaggedBatch::SegmentOfRow(int64_t row) const {
  const auto after = std::upper_bound(segments_.begin(), segments_.end(), row, [](int64_t r, const RaggedSegment& s) { return r < s.end; });
  return static_cast<int32_t>(after - segments_.begin());
}

std::unique_ptr<Decoder> MakeDecoder(const Compute& compute, const BaseModel& model, int64_t max_positions) {
  RopeTable rope = MakeRopeTable(model.config.rope, model.config.head_dim, max_positions);
  return compute.backend == Backend::kFast ? MakeFastDecoder(compute, model, std::move(rope))
                                           : MakeReferenceDecoder(compute, model, std::move(rope));
}

void IsolateNotFinite(at::Tensor& hidden, at::Tensor* normed, const RaggedBatch& batch, int32_t layer, std::vector<SegmentFault>* faults) {
  if (RowFinite(hidden, 0, hidden.size(0))) return;
  for (size_t i = 0; i < batch.segments().size(); ++i) {
    const RaggedSegment& segment = batch.segments()[i];
    int32_t row = segment.begin;
    while (row < segment.end && RowFinite(hidden, row, 1)) ++row;
    if (row == segment.end) continue;
    faults->push_back({static_cast<int32_t>(i), Internal("layer %d: hidden state of row %d (position %d) is NaN or infinite", layer,
                                                         row - segment.begin, batch.positions()[row])});
    hidden.slice(0, segment.begin, segment.end).zero_();
    if (normed != nullptr) normed->slice(0, segment.begin, segment.end).zero_();
  }
}

}  // namespace switchyard
