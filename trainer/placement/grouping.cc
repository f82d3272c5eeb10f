#include "trainer/placement/grouping.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "trainer/placement/symmetric_eigen.h"

namespace switchyard::trainer {

namespace {

constexpr int kRounds = 50;  // of k-means
using Points = std::vector<std::vector<double>>;

double SquaredDistance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

// Where each expert stands among the others by what it is taken with.
Points Embedding(const CoActivation& counted, int32_t dimensions) {
  const auto n = static_cast<size_t>(counted.experts);
  std::vector<double> degree(n), matrix(n * n);
  for (size_t i = 0; i < n * n; ++i) degree[i / n] += i / n == i % n ? 0 : counted.tokens[i];
  for (size_t i = 0; i < n * n; ++i) {
    if (i / n != i % n && counted.tokens[i] > 0) matrix[i] = counted.tokens[i] / std::sqrt(degree[i / n] * degree[i % n]);
  }
  const Eigen eigen = SymmetricEigen(std::move(matrix), counted.experts);
  Points points(n);
  for (size_t i = 0; i < n; ++i) {
    double squares = 0;
    for (int32_t d = 0; d < std::min(dimensions, counted.experts); ++d) {
      points[i].push_back(degree[i] > 0 ? eigen.vectors[i * n + static_cast<size_t>(d)] : 0);
      squares += points[i].back() * points[i].back();
    }
    if (squares > 0) std::for_each(points[i].begin(), points[i].end(), [&](double& x) { x /= std::sqrt(squares); });
  }
  return points;
}

int32_t Nearest(const Points& centres, const std::vector<double>& point) {
  size_t best = 0;
  for (size_t c = 1; c < centres.size(); ++c) {
    if (SquaredDistance(centres[c], point) < SquaredDistance(centres[best], point)) best = c;
  }
  return static_cast<int32_t>(best);
}

// Centres begin at the first point and then each at the one that is farthest from those before.
std::vector<int32_t> KMeans(const Points& points, int32_t count) {
  Points centres = {points.front()};
  while (static_cast<int32_t>(centres.size()) < count) {
    const auto far = [&](const std::vector<double>& p) { return SquaredDistance(centres[static_cast<size_t>(Nearest(centres, p))], p); };
    centres.push_back(*std::max_element(points.begin(), points.end(), [&](const auto& a, const auto& b) { return far(a) < far(b); }));
  }
  std::vector<int32_t> groups(points.size(), -1);
  for (int round = 0; round < kRounds; ++round) {
    std::vector<int32_t> next;
    for (const std::vector<double>& point : points) next.push_back(Nearest(centres, point));
    if (next == groups) break;
    groups = std::move(next);
    for (size_t c = 0; c < centres.size(); ++c) {
      std::vector<double> sum(points.front().size());
      double members = 0;
      for (size_t i = 0; i < points.size(); ++i) {
        if (groups[i] != static_cast<int32_t>(c)) continue;
        ++members;
        for (size_t d = 0; d < sum.size(); ++d) sum[d] += points[i][d];
      }
      if (members == 0) continue;
      for (double& x : sum) x /= members;
      centres[c] = std::move(sum);
    }
  }
  return groups;
}

// What a change does. Counts are whole numbers, so equal is equal.
struct Change {
  double pairs = 0;    // kept together, more
  double squares = 0;  // of the devices' loads, more
  bool operator>(const Change& other) const { return pairs != other.pairs ? pairs > other.pairs : squares < other.squares; }
};

// A grouping while it is improved.
class Grouping {
 public:
  Grouping(const CoActivation& counted, int32_t devices, GroupSizes sizes, std::vector<int32_t> groups)
      : counted_(counted),
        sizes_(sizes),
        groups_(std::move(groups)),
        size_(static_cast<size_t>(devices)),
        load_(size_.size()),
        affinity_(groups_.size() * size_.size()) {
    for (int32_t e = 0; e < counted_.experts; ++e) {
      ++size_[groups_[e]];
      load_[groups_[e]] += counted_.load(e);
      for (int32_t f = 0; f < counted_.experts; ++f) {
        if (f != e) Affinity(e, groups_[f]) += counted_.at(e, f);
      }
    }
  }

  // Sizes first, at the least loss; then whatever gains.
  void Improve() {
    while (Fit()) {
    }
    while (MoveOne() || SwapTwo()) {
    }
  }
  const std::vector<int32_t>& groups() const { return groups_; }

 private:
  int32_t Devices() const { return static_cast<int32_t>(size_.size()); }
  double& Affinity(int32_t expert, int32_t device) { return affinity_[static_cast<size_t>(expert) * size_.size() + device]; }
  double Affinity(int32_t expert, int32_t device) const { return affinity_[static_cast<size_t>(expert) * size_.size() + device]; }

  Change Moving(int32_t e, int32_t to) const {
    const double load = counted_.load(e);
    return {Affinity(e, to) - Affinity(e, groups_[e]), 2 * load * (load_[to] - load_[groups_[e]] + load)};
  }
  Change Swapping(int32_t a, int32_t b) const {
    const int32_t from = groups_[a], to = groups_[b];
    const double more = counted_.load(b) - counted_.load(a);  // of `from`
    return {Affinity(a, to) - Affinity(a, from) + Affinity(b, from) - Affinity(b, to) - 2 * counted_.at(a, b),
            2 * more * (load_[from] - load_[to] + more)};
  }
  void Move(int32_t e, int32_t to) {
    const int32_t from = groups_[e];
    for (int32_t f = 0; f < counted_.experts; ++f) {
      if (f == e) continue;
      Affinity(f, from) -= counted_.at(e, f);
      Affinity(f, to) += counted_.at(e, f);
    }
    --size_[from];
    ++size_[to];
    load_[from] -= counted_.load(e);
    load_[to] += counted_.load(e);
    groups_[e] = to;
  }

  // One move towards the sizes; false when they fit.
  bool Fit() {
    const bool too_many = *std::max_element(size_.begin(), size_.end()) > sizes_.most;
    if (!too_many && *std::min_element(size_.begin(), size_.end()) >= sizes_.least) return false;
    return MoveBest([&](int32_t from, int32_t to) {
      return too_many ? size_[from] > sizes_.most && size_[to] < sizes_.most : size_[from] > sizes_.least && size_[to] < sizes_.least;
    });
  }
  bool MoveOne() {
    return MoveBest([&](int32_t from, int32_t to) { return size_[from] > sizes_.least && size_[to] < sizes_.most; }, Change());
  }
  // Of the allowed moves the best one, if it is better than `than`.
  template <typename Allowed>
  bool MoveBest(const Allowed& allowed, std::optional<Change> than = std::nullopt) {
    int32_t best = -1, target = -1;
    for (int32_t e = 0; e < counted_.experts; ++e) {
      for (int32_t to = 0; to < Devices(); ++to) {
        if (to == groups_[e] || !allowed(groups_[e], to)) continue;
        const Change change = Moving(e, to);
        if (than && !(change > *than)) continue;
        than = change;
        best = e;
        target = to;
      }
    }
    if (best >= 0) Move(best, target);
    return best >= 0;
  }
  bool SwapTwo() {
    Change than;
    int32_t first = -1, second = -1;
    for (int32_t a = 0; a < counted_.experts; ++a) {
      for (int32_t b = a + 1; b < counted_.experts; ++b) {
        if (groups_[a] == groups_[b]) continue;
        const Change change = Swapping(a, b);
        if (!(change > than)) continue;
        than = change;
        first = a;
        second = b;
      }
    }
    if (first < 0) return false;
    const int32_t from = groups_[first];
    Move(first, groups_[second]);
    Move(second, from);
    return true;
  }

  const CoActivation& counted_;
  const GroupSizes sizes_;
  std::vector<int32_t> groups_;
  std::vector<int32_t> size_;
  std::vector<double> load_, affinity_;  // [G]; [E, G]: how often an expert is taken with the group's others
};

}  // namespace

GroupSizes SizesOf(int32_t experts, int32_t devices, double slack) {
  const double mean = static_cast<double>(experts) / devices;
  return {static_cast<int32_t>(std::min(std::ceil(mean * (1 - slack)), std::floor(mean))),
          static_cast<int32_t>(std::max(std::floor(mean * (1 + slack)), std::ceil(mean)))};
}

std::vector<int32_t> GroupExperts(const CoActivation& counted, int32_t devices, double slack) {
  if (counted.experts == 0) return {};
  Grouping grouping(counted, devices, SizesOf(counted.experts, devices, slack), KMeans(Embedding(counted, devices), devices));
  grouping.Improve();
  return grouping.groups();
}

std::vector<int32_t> GroupInOrder(int32_t experts, int32_t devices) {
  std::vector<int32_t> groups;
  for (int32_t e = 0; e < experts; ++e) groups.push_back(static_cast<int32_t>(int64_t{e} * devices / experts));
  return groups;
}

double PairsTogether(const CoActivation& counted, const std::vector<int32_t>& groups) {
  double pairs = 0;
  for (int32_t a = 0; a < counted.experts; ++a) {
    for (int32_t b = a + 1; b < counted.experts; ++b) {
      if (groups[a] == groups[b]) pairs += counted.at(a, b);
    }
  }
  return pairs;
}

}  // namespace switchyard::trainer
