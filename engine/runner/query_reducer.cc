#include "engine/runner/query_reducer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <span>
#include <vector>

#include "engine/kernels/kernels.h"
#include "engine/tensor/rows.h"

namespace switchyard {

namespace {

constexpr int64_t kChunkLogits = 8 << 20;  // f32 values of logits in memory at a time: 32 MiB

// One query; `kind` and `index` say which.
struct Asked {
  enum Kind { kLogits, kLogProb, kTop };
  int32_t row;
  Kind kind;
  size_t index;
};

std::vector<Asked> CollectByRow(const Step& step) {
  std::vector<Asked> asked;
  asked.reserve(step.logits.size() + step.logprobs.size() + step.top_logprobs.size());
  for (size_t i = 0; i < step.logits.size(); ++i) asked.push_back({step.logits[i].row, Asked::kLogits, i});
  for (size_t i = 0; i < step.logprobs.size(); ++i) asked.push_back({step.logprobs[i].row, Asked::kLogProb, i});
  for (size_t i = 0; i < step.top_logprobs.size(); ++i) asked.push_back({step.top_logprobs[i].row, Asked::kTop, i});
  std::stable_sort(asked.begin(), asked.end(), [](const Asked& a, const Asked& b) { return a.row < b.row; });
  return asked;
}

// The `count` most likely tokens, the lowest id first among equals.
std::vector<TokenLogProb> Top(const float* logits, int64_t vocabulary, int64_t count, float log_sum_exp) {
  const auto likelier = [logits](TokenId a, TokenId b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); };
  const size_t keep = static_cast<size_t>(std::min(count, vocabulary));
  std::vector<TokenId> heap;  // the least likely on top
  heap.reserve(keep + 1);
  for (TokenId token = 0; token < vocabulary && keep > 0; ++token) {
    if (heap.size() == keep && !likelier(token, heap.front())) continue;
    heap.push_back(token);
    std::push_heap(heap.begin(), heap.end(), likelier);
    if (heap.size() <= keep) continue;
    std::pop_heap(heap.begin(), heap.end(), likelier);
    heap.pop_back();
  }
  std::sort_heap(heap.begin(), heap.end(), likelier);
  std::vector<TokenLogProb> top;
  top.reserve(heap.size());
  for (const TokenId token : heap) top.push_back({token, logits[token] - log_sum_exp});
  return top;
}

// A row of logits and the queries about it.
struct RowJob {
  int32_t row;
  const Asked* begin;
  const Asked* end;
};

// False when a logit is not finite.
bool AnswerRow(const Step& step, const RowJob& job, const float* logits, int64_t vocabulary, StepResult* result) {
  const kernels::LogSoftmaxStats stats = kernels::RowStats(logits, vocabulary);
  if (!stats.finite) {
    // Still of the right size.
    for (const Asked* query = job.begin; query != job.end; ++query) {
      if (query->kind == Asked::kLogits) result->logits[query->index].assign(static_cast<size_t>(vocabulary), 0);
    }
    return false;
  }
  for (const Asked* query = job.begin; query != job.end; ++query) {
    switch (query->kind) {
      case Asked::kLogits:
        result->logits[query->index].assign(logits, logits + vocabulary);
        result->log_sum_exps[query->index] = stats.log_sum_exp;
        break;
      case Asked::kLogProb: {
        const TokenId target = step.logprobs[query->index].target;
        result->logprobs[query->index] = {logits[target] - stats.log_sum_exp, target == stats.argmax};
        break;
      }
      case Asked::kTop:
        result->top_logprobs[query->index] = Top(logits, vocabulary, step.top_logprobs[query->index].count, stats.log_sum_exp);
        break;
    }
  }
  return true;
}

std::vector<RowJob> Jobs(const std::vector<Asked>& asked) {
  std::vector<RowJob> jobs;
  for (const Asked& query : asked) {
    if (jobs.empty() || jobs.back().row != query.row) jobs.push_back({query.row, &query, &query});
    jobs.back().end = &query + 1;
  }
  return jobs;
}

// The segment of `row` fails, unless it has already.
void AddFailure(const Step& step, int32_t row, StepResult* result) {
  const auto segment =
      std::upper_bound(step.segments.begin(), step.segments.end(), row, [](int32_t r, const Segment& s) { return r < s.end; });
  const auto index = static_cast<int32_t>(segment - step.segments.begin());
  for (const SegmentFailure& known : result->failures) {
    if (known.segment == index) return;
  }
  result->failures.push_back({index, Internal("vocabulary projection: a logit of row %d is NaN or infinite", row - segment->begin)});
}

}  // namespace

Status AnswerQueries(const Step& step, const at::Tensor& hidden, Decoder& decoder, kernels::ThreadPool* pool, StepResult* result) {
  result->logits.resize(step.logits.size());
  result->log_sum_exps.resize(step.logits.size());
  result->logprobs.resize(step.logprobs.size());
  result->top_logprobs.resize(step.top_logprobs.size());
  const std::vector<Asked> asked = CollectByRow(step);
  const std::vector<RowJob> jobs = Jobs(asked);
  const int64_t vocabulary = step.snapshot->info().vocab_size, total = static_cast<int64_t>(jobs.size());
  const int64_t chunk = std::max<int64_t>(1, kChunkLogits / vocabulary);
  std::vector<int32_t> rows;
  for (const RowJob& job : jobs) rows.push_back(job.row);
  std::vector<char> finite(jobs.size(), 1);
  for (int64_t begin = 0; begin < total; begin += chunk) {
    const int64_t count = std::min(chunk, total - begin);
    const at::Tensor logits = decoder.Logits(GatherRows(hidden, std::span(rows).subspan(begin, count)));
    const float* data = logits.const_data_ptr<float>();
    const auto answer = [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) finite[begin + i] = AnswerRow(step, jobs[begin + i], data + i * vocabulary, vocabulary, result);
    };
    if (pool != nullptr)
      pool->ParallelFor(count, 1, answer);
    else
      answer(0, count);
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (finite[i] == 0) AddFailure(step, jobs[i].row, result);
  }
  return OkStatus();
}

}  // namespace switchyard
