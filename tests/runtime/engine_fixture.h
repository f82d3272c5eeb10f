// What engine tests share: collectors for callbacks, tasks made of plain tokens, and the oracle's answers.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "engine/runtime/engine.h"
#include "engine/runtime/sampler.h"
#include "tests/testing/fake_model_runner.h"

namespace switchyard {

// Waits for one callback and keeps what it said. Thread-safe.
template <typename Result>
class Outcome {
 public:
  void Set(StatusOr<Result> result) {
    // Notified under the lock: whoever waits may destroy the object as soon as it wakes.
    std::lock_guard lock(mutex_);
    ++calls_;
    result_.emplace(std::move(result));
    changed_.notify_all();
  }
  const StatusOr<Result>& Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return result_.has_value(); });
    return *result_;
  }
  bool is_set() const {
    std::lock_guard lock(mutex_);
    return result_.has_value();
  }
  int calls() const {
    std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<StatusOr<Result>> result_;
  int calls_ = 0;
};

// Keeps a generation's tokens; says stop after `stop_after` of them.
class RecordingSink final : public GenerateSink {
 public:
  explicit RecordingSink(size_t stop_after = SIZE_MAX) : stop_after_(stop_after) {}
  bool OnToken(const GeneratedToken& token) override {
    std::lock_guard lock(mutex_);
    tokens_.push_back(token);
    return tokens_.size() < stop_after_;
  }
  void OnDone(StatusOr<GenerateResult> result) override { outcome_.Set(std::move(result)); }

  const StatusOr<GenerateResult>& Wait() { return outcome_.Wait(); }
  Outcome<GenerateResult>& outcome() { return outcome_; }
  std::vector<GeneratedToken> tokens() const {
    std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::vector<TokenId> ids() const {
    std::vector<TokenId> ids;
    for (const GeneratedToken& token : tokens()) ids.push_back(token.token);
    return ids;
  }

 private:
  const size_t stop_after_;
  mutable std::mutex mutex_;
  std::vector<GeneratedToken> tokens_;
  Outcome<GenerateResult> outcome_;
};

inline std::vector<TokenId> Tokens(int32_t count, int32_t salt = 0) {
  std::vector<TokenId> tokens;
  for (int32_t i = 0; i < count; ++i) tokens.push_back(2 + (i * 7 + salt * 13 + i * i * salt) % 50);
  return tokens;
}

inline std::vector<TokenId> operator+(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline GenerateTask GenerateOf(std::vector<TokenId> prompt, int32_t max_new_tokens) {
  GenerateTask task;
  task.prompt = std::move(prompt);
  task.max_new_tokens = max_new_tokens;
  return task;
}

// One group: `context` followed by each continuation, scored from its first token.
inline std::vector<ScoreItem> ItemsOf(const std::vector<TokenId>& context, const std::vector<std::vector<TokenId>>& continuations) {
  std::vector<ScoreItem> items;
  for (const auto& continuation : continuations) {
    items.push_back({.tokens = context + continuation, .score_from = static_cast<int32_t>(context.size())});
  }
  return items;
}

inline ScoreTask ScoreOf(const std::vector<TokenId>& context, const std::vector<std::vector<TokenId>>& continuations) {
  ScoreTask task;
  task.groups.push_back(ItemsOf(context, continuations));
  return task;
}

// The tokens a generation must give, computed without engine, batches or KV.
inline std::vector<TokenId> OracleGenerate(const GenerateTask& task, const SnapshotInfo& info) {
  Sampler sampler(task.sampling, task.prompt);
  std::vector<TokenId> all = task.prompt;
  std::vector<TokenId> generated;
  while (static_cast<int32_t>(generated.size()) < task.max_new_tokens) {
    const auto logits = fake::Logits(fake::PrefixHash(info, task.policy, all), info.vocab_size);
    const TokenId next = *sampler.Next(logits, static_cast<int64_t>(all.size()));
    all.push_back(next);
    generated.push_back(next);
    const auto stops = [&](const std::vector<TokenId>& tokens) { return std::find(tokens.begin(), tokens.end(), next) != tokens.end(); };
    if (stops(task.stop_tokens) || (!task.ignore_eos && stops(info.eos_tokens))) break;
  }
  return generated;
}

inline std::vector<std::vector<ScoreItemResult>> OracleScore(const ScoreTask& task, const SnapshotInfo& info) {
  std::vector<std::vector<ScoreItemResult>> groups;
  for (const auto& items : task.groups) {
    auto& results = groups.emplace_back();
    for (const ScoreItem& item : items) {
      ScoreItemResult& result = results.emplace_back();
      for (size_t t = item.score_from; t < item.tokens.size(); ++t) {
        const uint64_t hash = fake::PrefixHash(info, task.policy, std::span(item.tokens).first(t));
        const auto answer = fake::LogProb(hash, info.vocab_size, item.tokens[t]);
        result.logprobs.push_back(answer.logprob);
        result.is_greedy = result.is_greedy && answer.is_argmax;
      }
    }
  }
  return groups;
}

inline bool SameScores(const std::vector<std::vector<ScoreItemResult>>& a, const std::vector<std::vector<ScoreItemResult>>& b) {
  if (a.size() != b.size()) return false;
  for (size_t g = 0; g < a.size(); ++g) {
    if (a[g].size() != b[g].size()) return false;
    for (size_t i = 0; i < a[g].size(); ++i) {
      if (a[g][i].logprobs != b[g][i].logprobs || a[g][i].is_greedy != b[g][i].is_greedy) return false;
    }
  }
  return true;
}

}  // namespace switchyard
