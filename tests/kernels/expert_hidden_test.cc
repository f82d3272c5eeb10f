// The kernels the mixture is made of: products of packed rows and of parts, and an expert's hidden units.
#include <cmath>
#include <numeric>

#include "tests/kernels/kernel_testing.h"

namespace switchyard::kernels {
namespace {

using ExpertHiddenTest = IsaTest;
INSTANTIATE_FOR_EVERY_ISA(ExpertHiddenTest);

struct Matrix {
  std::vector<float> values;  // as the kernel sees them
  std::unique_ptr<PackedMatrix> packed;
};

std::vector<float> Rounded(const std::vector<float>& x, WeightType type) {
  std::vector<float> out = x;
  if (type == WeightType::kF32) return out;
  std::vector<bf16> narrow(x.size());
  F32ToBf16(x.data(), static_cast<int64_t>(x.size()), narrow.data());
  Bf16ToF32(narrow.data(), static_cast<int64_t>(x.size()), out.data());
  return out;
}

Matrix MakeMatrix(Random& random, int64_t n, int64_t k, WeightType type) {
  Matrix m{Rounded(random.Floats(n * k, 0.3f), type), nullptr};
  if (type == WeightType::kF32) {
    m.packed = PackedMatrix::PackF32(m.values.data(), n, k, k);
  } else {
    std::vector<bf16> narrow(m.values.size());
    F32ToBf16(m.values.data(), n * k, narrow.data());
    m.packed = PackedMatrix::PackBF16(narrow.data(), n, k, k);
  }
  return m;
}

// Packed rows, `distance` bytes apart (0: as they come), in memory of doubles for the alignment.
struct Packed {
  Packed(const std::vector<float>& x, int64_t rows, int64_t k, WeightType type, int64_t distance = 0)
      : bytes(distance > 0 ? distance : PackedRowBytes(type, k)), memory(static_cast<size_t>(rows * bytes / 8 + 1)) {
    ThreadPool pool(1);
    for (int64_t r = 0; r < rows; ++r) PackRows(pool, x.data() + r * k, 1, k, k, type, at(r));
  }
  char* at(int64_t row) { return reinterpret_cast<char*>(memory.data()) + row * bytes; }
  int64_t bytes;
  std::vector<double> memory;
};

TEST_P(ExpertHiddenTest, PartsOfAProductMakeTheWhole) {
  Random random(1);
  ThreadPool pool(2);
  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    for (int round = 0; round < 20; ++round) {
      const int64_t m = random.Between(1, 40), n = random.Between(1, 150), k = random.Between(1, 300), y_stride = n + 3;
      const Matrix w = MakeMatrix(random, n, k, type);
      const std::vector<float> x = random.Floats(m * k), before = random.Floats((m + 2) * y_stride);
      Packed packed(x, m, k, type);
      std::vector<float> plain(m * n), from_packed(m * n);
      Gemm(pool, x.data(), m, k, *w.packed, nullptr, plain.data(), n, false);
      GemmPacked(pool, packed.at(0), m, *w.packed, nullptr, from_packed.data(), n, false);
      ASSERT_TRUE(SameBits(plain.data(), from_packed.data(), m * n));

      // Columns in two parts, rows to other places, the sum in two parts along k: the same order of sums, so the same bits.
      std::vector<int64_t> places(m);
      std::iota(places.rbegin(), places.rend(), 2);
      const int64_t column = random.Between(0, n) / kColumnUnit * kColumnUnit, middle = random.Between(0, k) / 2 * 2;
      std::vector<float> parts = before, whole = before;
      for (int64_t r = 0; r < m; ++r)
        Gemm(pool, x.data() + r * k, 1, k, *w.packed, nullptr, whole.data() + places[r] * y_stride, y_stride, true);
      for (const auto& [k_begin, k_end] : {std::pair{int64_t{0}, middle}, {middle, k}}) {
        std::vector<float> some;
        for (int64_t r = 0; r < m; ++r) some.insert(some.end(), x.begin() + r * k + k_begin, x.begin() + r * k + k_end);
        Packed part(some, m, k_end - k_begin, type);
        GemmOfPart(part.at(0), m, *w.packed, {0, column, k_begin, k_end}, parts.data(), y_stride, true, places.data());
        GemmOfPart(part.at(0), m, *w.packed, {column, n, k_begin, k_end}, parts.data(), y_stride, true, places.data());
      }
      ASSERT_TRUE(SameBits(parts.data(), whole.data(), (m + 2) * y_stride)) << "m " << m << " n " << n << " k " << k;
    }
  }
}

struct Hidden {
  int64_t rows, n, rank_g, rank_u;
};

// Every row of `h` that is not named must stay, and the columns outside the range too.
TEST_P(ExpertHiddenTest, MatchesItsFormula) {
  Random random(2);
  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    for (const Hidden& c : {Hidden{1, 1, 4, 4}, {3, 31, 16, 16}, {7, 64, 8, 0}, {5, 200, 0, 5}, {9, 333, 0, 0}, {13, 97, 3, 24}}) {
      const int64_t stride = c.n + 5, all = c.rows + 2, z_bytes = 128;
      const Matrix bg = MakeMatrix(random, c.n, c.rank_g, type), bu = MakeMatrix(random, c.n, c.rank_u, type);
      const std::vector<float> gate = random.Floats(all * stride), up = random.Floats(all * stride), before = random.Floats(all * stride);
      const std::vector<float> zg = Rounded(random.Floats(c.rows * c.rank_g), type), zu = Rounded(random.Floats(c.rows * c.rank_u), type);
      const std::vector<float> weights = random.Floats(c.rows);
      std::vector<int64_t> rows(c.rows);
      std::iota(rows.rbegin(), rows.rend(), 1);
      std::vector<uint8_t> first(c.rows);
      for (int64_t i = 0; i < c.rows; ++i) first[i] = i % 3 == 0;
      Packed packed_g(zg, c.rows, c.rank_g, type, z_bytes), packed_u(zu, c.rows, c.rank_u, type, z_bytes);
      std::vector<float> h = before, want = before, v(c.rows * c.n);
      ExpertHiddenArgs args;
      args.type = type;
      args.gate = gate.data();
      args.up = up.data();
      args.h = h.data();
      args.stride = stride;
      args.count = c.rows;
      args.rows = rows.data();
      args.weights = weights.data();
      args.first = first.data();
      if (c.rank_g > 0) args.gate_b = bg.packed.get();
      if (c.rank_u > 0) args.up_b = bu.packed.get();
      args.gate_z = packed_g.at(0);
      args.up_z = packed_u.at(0);
      args.z_bytes = z_bytes;
      const int64_t middle = c.n / 2 / kColumnUnit * kColumnUnit;
      Packed low(std::vector<float>(c.rows * middle, -7.0f), c.rows, middle, type);
      Packed high(std::vector<float>(c.rows * (c.n - middle), -7.0f), c.rows, c.n - middle, type);
      args.hidden = low.at(0);
      ExpertHidden(args, 0, middle);
      args.hidden = high.at(0);
      ExpertHidden(args, middle, c.n);
      for (int64_t i = 0; i < c.rows; ++i) {
        for (int64_t j = 0; j < c.n; ++j) {
          double g = gate[rows[i] * stride + j], u = up[rows[i] * stride + j];
          for (int64_t r = 0; r < c.rank_g; ++r) g += static_cast<double>(zg[i * c.rank_g + r]) * bg.values[j * c.rank_g + r];
          for (int64_t r = 0; r < c.rank_u; ++r) u += static_cast<double>(zu[i * c.rank_u + r]) * bu.values[j * c.rank_u + r];
          const double value = g / (1 + std::exp(-g)) * u;
          v[i * c.n + j] = static_cast<float>(value);
          float& sum = want[rows[i] * stride + j];
          sum = static_cast<float>((first[i] != 0 ? 0.0 : sum) + weights[i] * value);
        }
      }
      for (int64_t i = 0; i < all * stride; ++i) ASSERT_NEAR(h[i], want[i], 1e-4 * (1 + std::abs(want[i]))) << "at " << i;
      // What was packed, seen through a product with a matrix that picks single columns.
      std::vector<float> unit(c.n * c.n, 0.0f), seen(c.rows * c.n, 0.0f);
      for (int64_t j = 0; j < c.n; ++j) unit[j * c.n + j] = 1.0f;
      std::vector<bf16> narrow(unit.size());
      F32ToBf16(unit.data(), c.n * c.n, narrow.data());
      const auto identity = type == WeightType::kF32 ? PackedMatrix::PackF32(unit.data(), c.n, c.n, c.n)
                                                     : PackedMatrix::PackBF16(narrow.data(), c.n, c.n, c.n);
      GemmOfPart(low.at(0), c.rows, *identity, {0, c.n, 0, middle}, seen.data(), c.n, true, nullptr);
      GemmOfPart(high.at(0), c.rows, *identity, {0, c.n, middle, c.n}, seen.data(), c.n, true, nullptr);
      for (int64_t i = 0; i < c.rows * c.n; ++i)
        ASSERT_NEAR(seen[i], v[i], (type == WeightType::kF32 ? 1e-4 : 5e-3) * (1 + std::abs(v[i])));
    }
  }
}

TEST_P(ExpertHiddenTest, WithoutAdaptersItIsSiluMulBitForBitAndBlocksDoNotMatter) {
  Random random(3);
  ThreadPool pool(1);
  const int64_t rows = 11, n = 333, rank = 6;
  const std::vector<float> gate = random.Floats(rows * n, 3.0f), up = random.Floats(rows * n), ones(rows, 1.0f);
  const std::vector<uint8_t> first(rows, 1);
  std::vector<int64_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  std::vector<float> plain(rows * n), h(rows * n);
  SiluMul(pool, gate.data(), up.data(), rows * n, plain.data());
  ExpertHiddenArgs args;
  args.gate = gate.data();
  args.up = up.data();
  args.h = h.data();
  args.stride = n;
  args.count = rows;
  args.rows = order.data();
  args.weights = ones.data();
  args.first = first.data();
  ExpertHidden(args, 0, n);
  EXPECT_TRUE(SameBits(plain.data(), h.data(), rows * n));

  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    const Matrix b = MakeMatrix(random, n, rank, type);
    Packed z(random.Floats(rows * rank), rows, rank, type);
    args.type = type;
    args.gate_b = args.up_b = b.packed.get();
    args.gate_z = args.up_z = z.at(0);
    args.z_bytes = z.bytes;
    args.rows = order.data();
    args.count = rows;
    args.h = h.data();
    ExpertHidden(args, 0, n);
    std::vector<float> alone(rows * n);
    args.h = alone.data();
    args.count = 1;
    for (int64_t r = 0; r < rows; ++r) {
      args.rows = order.data() + r;
      args.gate_z = args.up_z = z.at(r);
      for (int64_t column = 0; column < n; column += 3 * kColumnUnit) ExpertHidden(args, column, std::min(column + 3 * kColumnUnit, n));
    }
    EXPECT_TRUE(SameBits(h.data(), alone.data(), rows * n));
  }
}

}  // namespace
}  // namespace switchyard::kernels
