// The way back through an expert's hidden units against its formula.
#include "engine/kernels/expert_backward.h"

#include <cmath>
#include <numeric>

#include "tests/kernels/kernel_testing.h"

namespace switchyard::kernels {
namespace {

using ExpertBackwardTest = IsaTest;
INSTANTIATE_FOR_EVERY_ISA(ExpertBackwardTest);

// A [n, rank] matrix and packed rows of rank, z_bytes apart, with their values as the kernel sees them. Rank 0: neither.
struct Adapter {
  static constexpr int64_t kBytes = 128;

  Adapter(Random& random, int64_t n, int64_t rows, int64_t k, WeightType type)
      : rank(k), b(random.Floats(n * k, 0.3f)), z(random.Floats(rows * k)), memory(static_cast<size_t>(rows * kBytes / 8 + 1)) {
    if (rank == 0) return;
    ThreadPool pool(1);
    for (int64_t r = 0; r < rows; ++r) PackRows(pool, z.data() + r * k, 1, k, k, type, reinterpret_cast<char*>(memory.data()) + r * kBytes);
    if (type == WeightType::kF32) {
      matrix = PackedMatrix::PackF32(b.data(), n, k, k);
      return;
    }
    std::vector<bf16> narrow(b.size());
    F32ToBf16(b.data(), n * k, narrow.data());
    matrix = PackedMatrix::PackBF16(narrow.data(), n, k, k);
    Bf16ToF32(narrow.data(), n * k, b.data());
    narrow.resize(z.size());
    F32ToBf16(z.data(), rows * k, narrow.data());
    Bf16ToF32(narrow.data(), rows * k, z.data());
  }
  double At(int64_t row, int64_t column) const {
    double sum = 0;
    for (int64_t r = 0; r < rank; ++r) sum += static_cast<double>(z[row * rank + r]) * b[column * rank + r];
    return sum;
  }
  int64_t rank;
  std::vector<float> b, z;
  std::vector<double> memory;
  std::unique_ptr<PackedMatrix> matrix;
};

struct Case {
  int64_t rows, n, rank_g, rank_u, rank_d;
};

class World {
 public:
  World(Random& random, const Case& c, WeightType type)
      : c_(c),
        type_(type),
        stride_(c.n + 5),
        all_(c.rows + 2),
        gate(random.Floats(all_ * stride_, 2.0f)),
        up(random.Floats(all_ * stride_)),
        back(random.Floats(all_ * stride_)),
        dgate(random.Floats(all_ * stride_)),
        dup(random.Floats(all_ * stride_)),
        weights(random.Floats(c.rows)),
        dots(c.rows),
        rows(c.rows),
        first(c.rows),
        g(random, c.n, c.rows, c.rank_g, type),
        u(random, c.n, c.rows, c.rank_u, type),
        d(random, c.n, c.rows, c.rank_d, type),
        own_g(c.rows * PackedRowBytes(type, c.n) / 8 + 1),
        own_u(own_g.size()) {
    std::iota(rows.rbegin(), rows.rend(), 1);
    for (int64_t i = 0; i < c.rows; ++i) first[i] = i % 3 == 0;
    if (type == WeightType::kF32) return;
    for (const auto& [wide, narrow] : {std::pair{&gate, &narrow_gate}, {&up, &narrow_up}}) {
      narrow->resize(wide->size());
      F32ToBf16(wide->data(), static_cast<int64_t>(wide->size()), narrow->data());
      Bf16ToF32(narrow->data(), static_cast<int64_t>(wide->size()), wide->data());
    }
  }

  ExpertBackwardArgs Args() {
    ExpertBackwardArgs args;
    args.type = type_;
    args.gate = type_ == WeightType::kF32 ? static_cast<const void*>(gate.data()) : narrow_gate.data();
    args.up = type_ == WeightType::kF32 ? static_cast<const void*>(up.data()) : narrow_up.data();
    args.back = back.data();
    args.stride = stride_;
    args.count = c_.rows;
    args.rows = rows.data();
    args.gate_b = g.matrix.get();
    args.gate_z = g.memory.data();
    args.up_b = u.matrix.get();
    args.up_z = u.memory.data();
    args.down_a = d.matrix.get();
    args.down_z = d.memory.data();
    args.z_bytes = Adapter::kBytes;
    args.dots = dots.data();
    args.weights = weights.data();
    args.first = first.data();
    args.dgate = dgate.data();
    args.dup = dup.data();
    args.own_dgate = own_g.data();
    args.own_dup = own_u.data();
    return args;
  }

 private:
  const Case c_;
  const WeightType type_;
  const int64_t stride_, all_;

 public:
  std::vector<float> gate, up, back, dgate, dup, weights, dots;
  std::vector<bf16> narrow_gate, narrow_up;  // of a bf16 kernel: what it reads
  std::vector<int64_t> rows;
  std::vector<uint8_t> first;
  Adapter g, u, d;
  std::vector<double> own_g, own_u;
};

// Packed rows, seen through a product with the identity.
std::vector<float> Seen(const void* packed, int64_t rows, int64_t n, WeightType type) {
  std::vector<float> unit(n * n, 0.0f), seen(rows * n);
  for (int64_t j = 0; j < n; ++j) unit[j * n + j] = 1.0f;
  std::vector<bf16> narrow(unit.size());
  F32ToBf16(unit.data(), n * n, narrow.data());
  const auto identity =
      type == WeightType::kF32 ? PackedMatrix::PackF32(unit.data(), n, n, n) : PackedMatrix::PackBF16(narrow.data(), n, n, n);
  GemmOfPart(packed, rows, *identity, {0, n, 0, n}, seen.data(), n, false, nullptr);
  return seen;
}

const Case kCases[] = {{1, 1, 4, 4, 4},   {3, 31, 16, 16, 16}, {7, 64, 8, 0, 3}, {5, 200, 0, 5, 0},
                       {9, 133, 0, 0, 0}, {13, 97, 3, 24, 16}, {4, 48, 0, 0, 7}};

TEST_P(ExpertBackwardTest, MatchesItsFormula) {
  Random random(5);
  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    for (const Case& c : kCases) {
      World world(random, c, type);
      std::vector<float> want_g = world.dgate, want_u = world.dup, own_g(c.rows * c.n), own_u(c.rows * c.n), want_dots(c.rows);
      for (int64_t i = 0; i < c.rows; ++i) {
        double dot = 0;
        for (int64_t j = 0; j < c.n; ++j) {
          const int64_t at = world.rows[i] * (c.n + 5) + j;
          const double g = world.gate[at] + world.g.At(i, j), u = world.up[at] + world.u.At(i, j), d = world.back[at] + world.d.At(i, j);
          const double s = 1 / (1 + std::exp(-g));
          dot += g * s * u * d;
          own_g[i * c.n + j] = static_cast<float>(world.weights[i] * d * u * s * (1 + g * (1 - s)));
          own_u[i * c.n + j] = static_cast<float>(world.weights[i] * d * g * s);
          want_g[at] = (world.first[i] != 0 ? 0.0f : want_g[at]) + own_g[i * c.n + j];
          want_u[at] = (world.first[i] != 0 ? 0.0f : want_u[at]) + own_u[i * c.n + j];
        }
        want_dots[i] = static_cast<float>(dot);
      }
      ExpertBackward(world.Args(), c.n);
      for (size_t i = 0; i < want_g.size(); ++i) {
        ASSERT_NEAR(world.dgate[i], want_g[i], 1e-4 * (1 + std::abs(want_g[i]))) << "at " << i;
        ASSERT_NEAR(world.dup[i], want_u[i], 1e-4 * (1 + std::abs(want_u[i]))) << "at " << i;
      }
      for (int64_t i = 0; i < c.rows; ++i) ASSERT_NEAR(world.dots[i], want_dots[i], 1e-3 * (1 + std::abs(want_dots[i])));
      const std::vector<float> seen_g = Seen(world.own_g.data(), c.rows, c.n, type), seen_u = Seen(world.own_u.data(), c.rows, c.n, type);
      const double near = type == WeightType::kF32 ? 1e-4 : 5e-3;
      for (int64_t i = 0; i < c.rows * c.n; ++i) {
        ASSERT_NEAR(seen_g[i], own_g[i], near * (1 + std::abs(own_g[i])));
        ASSERT_NEAR(seen_u[i], own_u[i], near * (1 + std::abs(own_u[i])));
      }
    }
  }
}

TEST_P(ExpertBackwardTest, DotsAloneAreTheSameBitsAndTouchNothing) {
  Random random(6);
  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    for (const Case& c : kCases) {
      World world(random, c, type);
      ExpertBackward(world.Args(), c.n);
      const std::vector<float> dots = world.dots, dgate = world.dgate, dup = world.dup;
      ExpertBackwardArgs args = world.Args();
      args.weights = nullptr;
      std::fill(world.dots.begin(), world.dots.end(), -1.0f);
      // One row after the other: blocks do not matter.
      args.count = 1;
      for (int64_t i = 0; i < c.rows; ++i) {
        ExpertBackward(args, c.n);
        ++args.rows;
        ++args.dots;
        for (const void** z : {&args.gate_z, &args.up_z, &args.down_z}) *z = static_cast<const char*>(*z) + Adapter::kBytes;
      }
      EXPECT_TRUE(SameBits(dots.data(), world.dots.data(), c.rows));
      EXPECT_EQ(dgate, world.dgate);
      EXPECT_EQ(dup, world.dup);
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
