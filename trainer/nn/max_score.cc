#include "trainer/nn/max_score.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace switchyard::trainer {

namespace {

constexpr int64_t kBlockRows = 512;
constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr double kLeastGain = 1e-12;  // a smaller one is rounding

// The assignment of largest total score of rows to experts with limited room, grown row by row: a new row enters along the path that gains
// most, on which each expert without room passes one of its rows on.
class Assignment {
 public:
  // scores [rows, experts], kNever where a row may not go; room [experts].
  Assignment(const std::vector<double>& scores, const std::vector<int64_t>& room)
      : scores_(scores),
        room_(room),
        experts_(room.size()),
        rows_of_(experts_),
        expert_of_(scores.size() / experts_, -1),
        pass_(experts_ * experts_) {
    for (size_t row = 0; row < expert_of_.size(); ++row) Enter(row);
  }
  const std::vector<int32_t>& expert_of() const { return expert_of_; }

 private:
  struct Pass {
    double gain = kNever;  // of moving `row` from one expert to another
    size_t row = 0;
  };
  double Score(size_t row, size_t expert) const { return scores_[row * experts_ + expert]; }
  bool HasRoom(size_t expert) const { return static_cast<int64_t>(rows_of_[expert].size()) < room_[expert]; }

  // Longest paths from the new row to every expert. There is no cycle that gains: the assignment so far is the best.
  void Enter(size_t row) {
    std::vector<double> total(experts_);
    std::vector<int32_t> from(experts_, -1);
    for (size_t e = 0; e < experts_; ++e) total[e] = Score(row, e);
    for (size_t round = 1; round < experts_; ++round) {
      for (size_t e = 0; e < experts_; ++e) {
        if (HasRoom(e) || total[e] == kNever) continue;
        for (size_t f = 0; f < experts_; ++f) {
          const double reached = total[e] + pass_[e * experts_ + f].gain;
          if (f == e || !(reached > total[f] + kLeastGain)) continue;
          total[f] = reached;
          from[f] = static_cast<int32_t>(e);
        }
      }
    }
    int32_t last = -1;
    for (size_t e = 0; e < experts_; ++e) {
      if (HasRoom(e) && total[e] != kNever && (last < 0 || total[e] > total[static_cast<size_t>(last)])) last = static_cast<int32_t>(e);
    }
    if (last >= 0) Move(row, static_cast<size_t>(last), from);
  }

  // Along the path, from its end: what `to` gets comes from the expert before it, whose place the next one takes.
  void Move(size_t row, size_t to, const std::vector<int32_t>& from) {
    size_t at = to;
    std::vector<size_t> changed = {at};
    for (size_t steps = 0; from[at] >= 0 && steps < experts_; ++steps) {
      const auto before = static_cast<size_t>(from[at]);
      const size_t moved = pass_[before * experts_ + at].row;
      std::erase(rows_of_[before], moved);
      Put(moved, at);
      at = before;
      changed.push_back(at);
    }
    Put(row, at);
    for (const size_t expert : changed) Refresh(expert);
  }
  void Put(size_t row, size_t expert) {
    rows_of_[expert].push_back(row);
    expert_of_[row] = static_cast<int32_t>(expert);
  }
  void Refresh(size_t expert) {
    for (size_t f = 0; f < experts_; ++f) {
      Pass best;
      for (const size_t row : rows_of_[expert]) {
        const double gain = Score(row, f) - Score(row, expert);
        if (gain > best.gain) best = {gain, row};
      }
      pass_[expert * experts_ + f] = best;
    }
  }

  const std::vector<double>& scores_;
  const std::vector<int64_t>& room_;
  const size_t experts_;
  std::vector<std::vector<size_t>> rows_of_;
  std::vector<int32_t> expert_of_;
  std::vector<Pass> pass_;  // [from, to]
};

// p, slots: of the block's rows alone.
void AssignBlock(std::span<const float> p, int32_t experts, int32_t k, std::span<int16_t> slots) {
  const auto width = static_cast<size_t>(experts);
  const size_t rows = p.size() / width;
  const int64_t capacity = (static_cast<int64_t>(rows) * k + experts - 1) / experts;
  std::vector<int64_t> room(width, capacity);
  std::vector<double> scores(p.begin(), p.end());
  const auto give = [&](size_t row, int32_t slot, int32_t expert) {
    slots[row * k + slot] = expert < 0 ? LayerRoutes::kUnused : static_cast<int16_t>(expert);
    if (expert < 0) return;
    scores[row * width + expert] = kNever;
    --room[expert];
  };
  for (size_t row = 0; row < rows; ++row) {
    int32_t best = -1;
    for (int32_t e = 0; e < experts; ++e) {
      if (room[e] > 0 && (best < 0 || p[row * width + e] > p[row * width + best])) best = e;
    }
    give(row, 0, best);
  }
  for (int32_t slot = 1; slot < k; ++slot) {
    const std::vector<int64_t> left = room;
    const std::vector<double> known = scores;
    const Assignment assignment(known, left);
    for (size_t row = 0; row < rows; ++row) give(row, slot, assignment.expert_of()[row]);
  }
}

}  // namespace

void AssignMaxScore(std::span<const float> p, int32_t experts, LayerRoutes* routes) {
  const std::span<int16_t> slots(routes->experts);
  for (int64_t begin = 0; begin < routes->rows; begin += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, routes->rows - begin);
    AssignBlock(p.subspan(begin * experts, rows * experts), experts, routes->k, slots.subspan(begin * routes->k, rows * routes->k));
  }
}

}  // namespace switchyard::trainer
