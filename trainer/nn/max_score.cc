#include "trainer/nn/max_score.h"

#include <algorithm>
#include <limits>
#include <numeric>
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

// Some rows, whose slots are filled one after another.
class Block {
 public:
  // p, slots: of the block's rows alone. Fills the first slots.
  Block(std::span<const float> p, int32_t experts, int32_t k, std::span<int16_t> slots)
      : width_(static_cast<size_t>(experts)),
        rows_(p.size() / width_),
        k_(k),
        slots_(slots),
        room_(width_, (static_cast<int64_t>(rows_) * k + experts - 1) / experts),
        scores_(p.begin(), p.end()) {
    for (size_t row = 0; row < rows_; ++row) Give(row, 0, BestWithRoom(row));
  }

  void FillExactly(int32_t slot) {
    const std::vector<int64_t> room = room_;
    const std::vector<double> scores = scores_;
    const Assignment assignment(scores, room);
    for (size_t row = 0; row < rows_; ++row) Give(row, slot, assignment.expert_of()[row]);
  }

  void FillIteratively(int32_t slot) {
    std::vector<size_t> asking(rows_);
    std::iota(asking.begin(), asking.end(), size_t{0});
    for (size_t row = 0; row < rows_; ++row) Give(row, slot, -1);
    while (!asking.empty()) {
      std::vector<std::vector<size_t>> asked(width_);
      for (const size_t row : asking) {
        if (const int32_t best = BestWithRoom(row); best >= 0) asked[best].push_back(row);
      }
      asking.clear();
      for (size_t e = 0; e < width_; ++e) {
        std::stable_sort(asked[e].begin(), asked[e].end(),
                         [&](size_t a, size_t b) { return scores_[a * width_ + e] > scores_[b * width_ + e]; });
        const auto taken = std::min(asked[e].size(), static_cast<size_t>(room_[e]));
        for (size_t i = 0; i < taken; ++i) Give(asked[e][i], slot, static_cast<int32_t>(e));
        asking.insert(asking.end(), asked[e].begin() + static_cast<int64_t>(taken), asked[e].end());
      }
      std::sort(asking.begin(), asking.end());  // the earlier row where scores are equal
    }
  }

 private:
  // That the row does not have; -1: there is none.
  int32_t BestWithRoom(size_t row) const {
    int32_t best = -1;
    for (size_t e = 0; e < width_; ++e) {
      if (room_[e] == 0 || scores_[row * width_ + e] == kNever) continue;
      if (best < 0 || scores_[row * width_ + e] > scores_[row * width_ + static_cast<size_t>(best)]) best = static_cast<int32_t>(e);
    }
    return best;
  }
  void Give(size_t row, int32_t slot, int32_t expert) {
    slots_[row * static_cast<size_t>(k_) + static_cast<size_t>(slot)] = expert < 0 ? LayerRoutes::kUnused : static_cast<int16_t>(expert);
    if (expert < 0) return;
    scores_[row * width_ + static_cast<size_t>(expert)] = kNever;
    --room_[expert];
  }

  const size_t width_, rows_;
  const int32_t k_;
  const std::span<int16_t> slots_;
  std::vector<int64_t> room_;   // [E]
  std::vector<double> scores_;  // [rows, E]; kNever: the row has it
};

}  // namespace

void AssignMaxScore(std::span<const float> p, int32_t experts, LayerRoutes* routes) {
  const std::span<int16_t> slots(routes->experts);
  for (int64_t begin = 0; begin < routes->rows; begin += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, routes->rows - begin);
    Block block(p.subspan(begin * experts, rows * experts), experts, routes->k, slots.subspan(begin * routes->k, rows * routes->k));
    for (int32_t slot = 1; slot < routes->k; ++slot) block.FillExactly(slot);
  }
}

void AssignMaxScoreIteratively(std::span<const float> p, int32_t experts, LayerRoutes* routes) {
  Block block(p, experts, routes->k, routes->experts);
  for (int32_t slot = 1; slot < routes->k; ++slot) block.FillIteratively(slot);
}

}  // namespace switchyard::trainer
