#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/kernels/kernel_testing.h"

namespace switchyard::kernels {
namespace {

struct Shape {
  int64_t heads, kv_heads, dim;
};

// Keys and values of one layer in shuffled slots, and queries for the last rows of each segment.
class Case {
 public:
  Case(uint32_t seed, Shape shape, WeightType kv_type, std::vector<std::pair<int64_t, int64_t>> rows_and_lengths)
      : shape_(shape), kv_type_(kv_type), random_(seed) {
    int64_t total = 0;
    for (const auto& [rows, length] : rows_and_lengths) total += length;
    const int64_t width = shape.kv_heads * shape.dim;
    k_ = random_.Floats((total + 5) * width);
    v_ = random_.Floats((total + 5) * width);
    std::vector<int32_t> free(total + 5);
    std::iota(free.begin(), free.end(), 0);
    std::mt19937 shuffle(seed);
    std::shuffle(free.begin(), free.end(), shuffle);
    for (const auto& [rows, length] : rows_and_lengths) {
      slots_.emplace_back(free.end() - length, free.end());
      free.resize(free.size() - length);
      segments_.push_back({rows_, rows_ + rows, nullptr, length});
      rows_ += rows;
    }
    for (size_t i = 0; i < slots_.size(); ++i) segments_[i].slots = slots_[i].data();
    q_ = random_.Floats(rows_ * q_width());
    k_store_ = Store(k_);
    v_store_ = Store(v_);
  }

  int64_t q_width() const { return shape_.heads * shape_.dim; }
  int64_t rows() const { return rows_; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.dim)); }
  std::vector<AttentionSegment>& segments() { return segments_; }

  std::vector<float> Run(ThreadPool& pool) const { return Run(pool, segments_); }
  std::vector<float> Run(ThreadPool& pool, const std::vector<AttentionSegment>& segments) const {
    std::vector<float> out(rows_ * q_width(), -3.0f);
    PagedAttention(pool, q_.data(), q_width(), k_store_.data(), v_store_.data(), kv_type_, shape_.heads, shape_.kv_heads, shape_.dim,
                   scale(), segments, out.data(), q_width());
    return out;
  }

  // Plain softmax in double over what the pools hold.
  std::vector<double> Expected() const {
    std::vector<double> out(rows_ * q_width());
    for (const AttentionSegment& s : segments_) {
      for (int64_t r = s.row_begin; r < s.row_end; ++r) {
        for (int64_t h = 0; h < shape_.heads; ++h) Row(s, r, h, &out[r * q_width() + h * shape_.dim]);
      }
    }
    return out;
  }

  void Poison(const AttentionSegment& segment, int64_t position, float value) {
    const int64_t width = shape_.kv_heads * shape_.dim, at = segment.slots[position] * width;
    for (int64_t i = 0; i < width; ++i) k_[at + i] = v_[at + i] = value;
    k_store_ = Store(k_);
    v_store_ = Store(v_);
  }

 private:
  std::vector<char> Store(std::vector<float>& values) {
    ThreadPool pool(2);
    const int64_t width = shape_.kv_heads * shape_.dim, rows = static_cast<int64_t>(values.size()) / width;
    std::vector<char> store(values.size() * (kv_type_ == WeightType::kBF16 ? 2 : 4));
    std::vector<int32_t> slots(rows);
    std::iota(slots.begin(), slots.end(), 0);
    StoreKv(pool, values.data(), rows, width, width, slots.data(), store.data(), kv_type_);
    if (kv_type_ == WeightType::kBF16) Bf16ToF32(reinterpret_cast<const bf16*>(store.data()), rows * width, values.data());
    return store;
  }

  void Row(const AttentionSegment& s, int64_t r, int64_t h, double* out) const {
    const int64_t width = shape_.kv_heads * shape_.dim, head = h / (shape_.heads / shape_.kv_heads) * shape_.dim;
    const int64_t visible = s.length - (s.row_end - r) + 1;
    std::vector<double> score(visible);
    for (int64_t j = 0; j < visible; ++j) {
      for (int64_t d = 0; d < shape_.dim; ++d) {
        score[j] += static_cast<double>(q_[r * q_width() + h * shape_.dim + d]) * scale() * k_[s.slots[j] * width + head + d];
      }
    }
    const double max = *std::max_element(score.begin(), score.end());
    double sum = 0;
    for (double& p : score) sum += p = std::exp(p - max);
    for (int64_t j = 0; j < visible; ++j) {
      for (int64_t d = 0; d < shape_.dim; ++d) out[d] += score[j] / sum * v_[s.slots[j] * width + head + d];
    }
  }

  Shape shape_;
  WeightType kv_type_;
  Random random_;
  int64_t rows_ = 0;
  std::vector<float> q_, k_, v_;
  std::vector<char> k_store_, v_store_;
  std::vector<std::vector<int32_t>> slots_;
  std::vector<AttentionSegment> segments_;
};

using AttentionTest = IsaTest;
INSTANTIATE_FOR_EVERY_ISA(AttentionTest);

TEST_P(AttentionTest, MatchesSoftmaxInDouble) {
  ThreadPool pool(2);
  for (const Shape shape : {Shape{9, 3, 64}, {8, 2, 128}, {4, 4, 24}, {5, 1, 40}, {2, 2, 1}, {4, 2, 7}, {16, 2, 80}}) {
    for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
      const Case c(7, shape, type, {{1, 1}, {1, 150}, {70, 70}, {3, 64}, {5, 65}, {40, 200}, {0, 10}});
      const std::vector<float> out = c.Run(pool);
      const std::vector<double> expected = c.Expected();
      for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], expected[i], 3e-6) << "dim " << shape.dim << " element " << i;
    }
  }
}

// A prompt of 150 positions computed at once, in chunks, and position by position, beside other segments or alone, on 1 to 4 threads.
TEST_P(AttentionTest, ARowIsTheSameBitsHoweverThePromptWasCut) {
  for (const Shape shape : {Shape{9, 3, 64}, {4, 1, 24}}) {
    for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
      Case c(8, shape, type, {{150, 150}, {1, 90}, {4, 130}});
      ThreadPool one(1);
      const std::vector<float> whole = c.Run(one);
      const AttentionSegment prompt = c.segments()[0];
      Random random(9);
      for (int threads = 1; threads <= 4; ++threads) {
        ThreadPool pool(threads);
        ASSERT_TRUE(SameBits(whole.data(), c.Run(pool).data(), static_cast<int64_t>(whole.size())));
        for (const int64_t limit : {1, 5, 40, 100}) {
          std::vector<AttentionSegment> pieces = {c.segments()[2]};
          for (int64_t r = 0; r < prompt.row_end;) {
            const int64_t end = std::min(prompt.row_end, r + random.Between(1, limit));
            pieces.push_back({r, end, prompt.slots, end});
            r = end;
          }
          pieces.push_back(c.segments()[1]);
          ASSERT_TRUE(SameBits(whole.data(), c.Run(pool, pieces).data(), static_cast<int64_t>(whole.size()))) << "limit " << limit;
        }
      }
    }
  }
}

TEST_P(AttentionTest, LaterPositionsCannotBeSeenEvenWhenTheyHoldNan) {
  ThreadPool pool(2);
  for (const float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Case c(10, {6, 2, 64}, WeightType::kBF16, {{80, 80}});
    const std::vector<float> clean = c.Run(pool);
    const int64_t at = 40, before = at * c.q_width();
    c.Poison(c.segments()[0], at, poison);
    const std::vector<float> out = c.Run(pool);
    EXPECT_TRUE(SameBits(clean.data(), out.data(), before));
    for (size_t i = before; i < out.size(); ++i) ASSERT_TRUE(std::isnan(out[i])) << i;  // never hidden
  }
}

TEST_P(AttentionTest, NothingToDoWritesNothing) {
  ThreadPool pool(2);
  Case c(11, {2, 1, 16}, WeightType::kF32, {{2, 4}});
  for (const float v : c.Run(pool, {})) EXPECT_EQ(v, -3.0f);
}

TEST_P(AttentionTest, StoreKvWritesRowsIntoTheirSlotsOnly) {
  ThreadPool pool(2);
  const int64_t width = 19, rows = 3, stride = 25;
  Random random(12);
  const std::vector<float> x = random.Floats(rows * stride);
  const int32_t slots[] = {4, 0, 2};
  std::vector<float> wide(5 * width, 9.0f);
  std::vector<bf16> narrow(5 * width, 0x4110);  // 9.0
  StoreKv(pool, x.data(), rows, stride, width, slots, wide.data(), WeightType::kF32);
  StoreKv(pool, x.data(), rows, stride, width, slots, narrow.data(), WeightType::kBF16);
  for (int64_t slot = 0; slot < 5; ++slot) {
    const int32_t* found = std::find(slots, slots + rows, slot);
    for (int64_t i = 0; i < width; ++i) {
      const float expected = found == slots + rows ? 9.0f : x[(found - slots) * stride + i];
      EXPECT_EQ(wide[slot * width + i], expected);
      bf16 rounded;
      F32ToBf16(&expected, 1, &rounded);
      EXPECT_EQ(narrow[slot * width + i], rounded);
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
