#include "trainer/compare/accuracy.h"

#include <condition_variable>
#include <mutex>
#include <utility>

namespace switchyard::trainer {
namespace {

constexpr int kInFlight = 32;  // questions the engine has at the same time

// Collects answers of the engine thread; the asking thread waits for room and for the end.
class Answers {
 public:
  void WaitForRoom() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return in_flight_ < kInFlight; });
    ++in_flight_;
  }
  void Answered(StatusOr<ScoreResult> result, ScoreResult* into) {
    std::lock_guard lock(mutex_);
    if (result.ok()) {
      *into = *std::move(result);
    } else if (first_error_.ok()) {
      first_error_ = result.status();
    }
    --in_flight_;
    changed_.notify_all();
  }
  Status WaitForAll() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return in_flight_ == 0; });
    return first_error_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int in_flight_ = 0;
  Status first_error_;
};

double Sum(const ScoreItemResult& item) {
  double sum = 0;
  for (const float logprob : item.logprobs) sum += logprob;
  return sum;
}

std::vector<OptionFigures> FiguresOf(const Question& question, const ScoreResult& result) {
  std::vector<OptionFigures> options(question.text.size());
  for (size_t i = 0; i < options.size(); ++i) {
    const ScoreItemResult& text = result.groups[0][i];
    options[i].sum = Sum(text);
    options[i].tokens = static_cast<int64_t>(text.logprobs.size());
    options[i].characters = question.characters[i];
    options[i].bytes = question.bytes[i];
    size_t group = 1;
    if (!question.prior.empty()) options[i].prior = Sum(result.groups[group++][i]);
    if (!question.letter.empty()) options[i].letter = Sum(result.groups[group][i]);
  }
  return options;
}

ScoreTask TaskOf(const Question& question, const Contestant& contestant, size_t set) {
  ScoreTask task;
  task.snapshot = contestant.snapshot;
  task.policy = contestant.policies[set];
  task.groups.push_back(question.text);
  if (!question.prior.empty()) task.groups.push_back(question.prior);
  if (!question.letter.empty()) task.groups.push_back(question.letter);
  return task;
}

}  // namespace

StatusOr<Accuracy> MeasureAccuracy(Engine& engine, const Contestant& contestant, const std::vector<QuestionSet>& sets) {
  Accuracy accuracy;
  for (auto& judge : accuracy) judge.resize(sets.size());
  for (size_t s = 0; s < sets.size(); ++s) {
    const std::vector<Question>& questions = sets[s].questions;
    std::vector<ScoreResult> results(questions.size());
    Answers answers;
    Status refused;
    for (size_t q = 0; q < questions.size() && refused.ok(); ++q) {
      answers.WaitForRoom();
      ScoreResult* into = &results[q];
      auto asked = engine.Score(TaskOf(questions[q], contestant, s),
                                [&answers, into](StatusOr<ScoreResult> result) { answers.Answered(std::move(result), into); });
      if (asked.ok()) continue;
      refused = asked.status();
      answers.Answered(refused, into);
    }
    RETURN_IF_ERROR(answers.WaitForAll());
    for (size_t q = 0; q < questions.size(); ++q) {
      const std::vector<OptionFigures> options = FiguresOf(questions[q], results[q]);
      for (int judge = 0; judge < kJudgeCount; ++judge) {
        const auto winner = Winner(static_cast<Judge>(judge), options);
        if (!winner) continue;
        ++accuracy[judge][s].trials;
        accuracy[judge][s].successes += *winner == questions[q].answer ? 1 : 0;
      }
    }
  }
  return accuracy;
}

}  // namespace switchyard::trainer
