#include "trainer/data/batch_sampler.h"

#include <string>

#include "trainer/data/seeded_order.h"

namespace switchyard::trainer {

PackedBatch Pack(const Dataset& dataset, const std::vector<int64_t>& examples) {
  PackedBatch batch;
  for (const int64_t index : examples) {
    const Example& example = dataset.examples[index];
    const auto begin = static_cast<int32_t>(batch.tokens.size());
    const auto length = static_cast<int32_t>(example.tokens.size());
    // Nothing is predicted from an example's last token: the server does not compute its row either.
    batch.tokens.insert(batch.tokens.end(), example.tokens.begin(), example.tokens.end() - 1);
    batch.segments.push_back({begin, begin + length - 1, example.domain});
    for (int32_t at = example.answer_begin; at < length; ++at) {
      batch.rows.push_back(begin + at - 1);
      batch.targets.push_back(example.tokens[at]);
    }
  }
  return batch;
}

BatchSampler::BatchSampler(const Dataset& dataset, int64_t examples_per_batch, uint64_t seed)
    : dataset_(dataset), examples_per_batch_(examples_per_batch), seed_(seed) {}

std::vector<int64_t> BatchSampler::Next() {
  const auto size = static_cast<int64_t>(dataset_.examples.size());
  std::vector<int64_t> batch;
  if (size == 0) return batch;
  for (int64_t i = 0; i < examples_per_batch_; ++i, ++consumed_) {
    Shuffle(consumed_ / size);
    batch.push_back(order_[consumed_ % size]);
  }
  return batch;
}

void BatchSampler::Seek(int64_t consumed) { consumed_ = consumed; }

double BatchSampler::epoch() const {
  return dataset_.examples.empty() ? 0 : static_cast<double>(consumed_) / static_cast<double>(dataset_.examples.size());
}

void BatchSampler::Shuffle(int64_t epoch) {
  if (shuffled_epoch_ == epoch) return;
  order_ = SeededOrder(static_cast<int64_t>(dataset_.examples.size()), seed_, "epoch " + std::to_string(epoch));
  shuffled_epoch_ = epoch;
}

}  // namespace switchyard::trainer
