// Times the numeric kernels and puts every time beside what the machine can do, measured in the same run: a memory read probe and a probe
// of the fastest multiply-add of the instruction set in use. Medians over many repetitions; other processes make every number worse, so
// rerun when quiet.
//
//   kernels_bench [--threads N] [--isa scalar|avx2|avx512|avx512_bf16] [--weights bf16|f32] [--reps N] [--json FILE]
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/kernels/kernels.h"
#include "engine/kernels/thread_pool.h"

namespace switchyard::kernels {
namespace {

struct Options {
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  int reps = 41;
  WeightType weights = WeightType::kBF16;
  std::string json;
};

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size()) / 2, values.end());
  return values[values.size() / 2];
}

double MedianTime(int reps, const std::function<void(int)>& body) {
  std::vector<double> times;
  for (int i = 0; i < reps; ++i) {
    const double start = Seconds();
    body(i);
    times.push_back(Seconds() - start);
  }
  return Median(std::move(times));
}

// ---- probes
// -------------------------------------------------------------------------------------------------------------------------------------

// Reads a buffer far larger than the caches with eight streams a thread.
class ReadProbe {
 public:
  explicit ReadProbe(ThreadPool& pool) : pool_(pool), data_(kWords, 1) {}

  double BytesPerSecond() {
    const double start = Seconds();
    pool_.ParallelFor(kParts, 1, [this](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) sink_ += ReadPart(data_.data() + part * (kWords / kParts));
    });
    return kWords * sizeof(uint64_t) / (Seconds() - start);
  }

 private:
  static constexpr int64_t kWords = 32 << 20, kParts = 32, kStreams = 8;

  static uint64_t ReadPart(const uint64_t* p) {
    constexpr int64_t kLength = kWords / kParts / kStreams;
    __m128i sums[kStreams] = {};
    for (int64_t i = 0; i < kLength; i += 8) {
      for (int64_t s = 0; s < kStreams; ++s) {
        for (int64_t j = 0; j < 8; j += 2) {
          sums[s] = _mm_xor_si128(sums[s], _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + s * kLength + i + j)));
        }
      }
    }
    uint64_t total = 0;
    for (const __m128i& sum : sums) total ^= static_cast<uint64_t>(_mm_cvtsi128_si64(sum));
    return total;
  }

  ThreadPool& pool_;
  std::vector<uint64_t> data_;
  std::atomic<uint64_t> sink_{0};
};

constexpr int64_t kPeakLoops = 20000;

// Twelve independent chains in registers, nothing else. The barrier keeps the compiler from folding the chains.
#define SWITCHYARD_PEAK_LOOP(Vector, one_step)              \
  Vector acc[12] = {};                                      \
  for (int64_t i = 0; i < kPeakLoops; ++i) {                \
    _Pragma("GCC unroll 12") for (int j = 0; j < 12; ++j) { \
      one_step;                                             \
      __asm__ volatile("" : "+v"(acc[j]));                  \
    }                                                       \
  }

__attribute__((target("avx512f,avx512bf16"))) double PeakDot() {
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0);
  SWITCHYARD_PEAK_LOOP(__m512, acc[j] = _mm512_dpbf16_ps(acc[j], a, a))
  return 12.0 * kPeakLoops * 64;
}

__attribute__((target("avx512f"))) double PeakFma512() {
  const __m512 a = _mm512_set1_ps(0.5f);
  SWITCHYARD_PEAK_LOOP(__m512, acc[j] = _mm512_fmadd_ps(acc[j], a, a))
  return 12.0 * kPeakLoops * 32;
}

__attribute__((target("avx2,fma"))) double PeakFma256() {
  const __m256 a = _mm256_set1_ps(0.5f);
  SWITCHYARD_PEAK_LOOP(__m256, acc[j] = _mm256_fmadd_ps(acc[j], a, a))
  return 12.0 * kPeakLoops * 16;
}

double PeakScalar() {
  const __m128 a = _mm_set_ss(0.5f);
  SWITCHYARD_PEAK_LOOP(__m128, acc[j] = _mm_add_ss(_mm_mul_ss(acc[j], a), a))
  return 12.0 * kPeakLoops * 2;
}

double PeakFlops(ThreadPool& pool, WeightType weights) {
  double (*probe)() = PeakScalar;
  if (CurrentIsa() == Isa::kAvx2) probe = PeakFma256;
  if (CurrentIsa() >= Isa::kAvx512) probe = PeakFma512;
  if (CurrentIsa() == Isa::kAvx512Bf16 && weights == WeightType::kBF16) probe = PeakDot;
  std::vector<double> flops(8 * pool.threads());
  const double start = Seconds();
  pool.ParallelFor(static_cast<int64_t>(flops.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) flops[i] = probe();
  });
  return std::accumulate(flops.begin(), flops.end(), 0.0) / (Seconds() - start);
}

// ---- cases
// --------------------------------------------------------------------------------------------------------------------------------------

struct Row {
  std::string name;
  int64_t m;
  double seconds, flops, bytes;
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options), pool_(options.threads), read_(pool_) {}

  void Run() {
    std::printf("instruction set %s, weights %s, %d threads, median of %d\n\n", IsaName(CurrentIsa()), WeightName(), pool_.threads(),
                options_.reps);
    std::printf("%-34s %5s %10s %9s %8s %9s %9s\n", "kernel", "m", "ms", "GFLOP/s", "GB/s", "of peak", "of read");
    Dispatch();
    for (const int64_t m : {1, 2, 4, 8, 16, 64, 128, 512}) Matrix("llama ffn", 8192, 2048, 8, m);
    for (const int64_t m : {1, 8, 512}) Matrix("smollm2 kv", 192, 576, 1, m);
    for (const int64_t m : {1, 8, 512}) Matrix("smollm2 q", 576, 576, 1, m);
    for (const int64_t m : {1, 8, 512}) Matrix("smollm2 gate", 1536, 576, 1, m);
    for (const int64_t m : {1, 8, 512}) Matrix("smollm2 down", 576, 1536, 1, m);
    for (const int64_t m : {1, 8, 64}) Matrix("smollm2 head", 49152, 576, 2, m);
    for (const int64_t m : {1, 2, 4, 8, 32, 128, 512}) Chain(m);
    AttentionCases();
    ElementwiseCases();
    std::printf("\nread probe %.1f GB/s, peak probe %.0f GFLOP/s (medians of %zu)\n", Median(reads_) * 1e-9, Median(peaks_) * 1e-9,
                reads_.size());
  }

  bool WriteJson() const {
    if (options_.json.empty()) return true;
    std::ofstream out(options_.json);
    out << "{\n  \"isa\": \"" << IsaName(CurrentIsa()) << "\", \"weights\": \"" << WeightName() << "\", \"threads\": " << pool_.threads()
        << ", \"repetitions\": " << options_.reps << ",\n  \"read_probe_gb_s\": " << Median(reads_) * 1e-9
        << ", \"peak_probe_gflop_s\": " << Median(peaks_) * 1e-9 << ",\n  \"rows\": [\n";
    for (size_t i = 0; i < rows_.size(); ++i) {
      const Row& r = rows_[i];
      out << "    {\"kernel\": \"" << r.name << "\", \"m\": " << r.m << ", \"ms_median\": " << r.seconds * 1e3
          << ", \"gflop_s\": " << r.flops / r.seconds * 1e-9 << ", \"gb_s\": " << r.bytes / r.seconds * 1e-9 << "}"
          << (i + 1 < rows_.size() ? ",\n" : "\n");
    }
    out << "  ]\n}\n";
    return static_cast<bool>(out.flush());
  }

 private:
  const char* WeightName() const { return options_.weights == WeightType::kBF16 ? "bf16" : "f32"; }

  // The probes run beside every case, so that both see the same neighbours.
  void Time(const std::string& name, int64_t m, double flops, double bytes, int reps, const std::function<void(int)>& body) {
    body(0);
    const double read = read_.BytesPerSecond(), peak = PeakFlops(pool_, options_.weights);
    reads_.push_back(read);
    peaks_.push_back(peak);
    const Row row{name, m, MedianTime(reps, body), flops, bytes};
    rows_.push_back(row);
    std::printf("%-34s %5lld %10.4f %9.1f %8.1f %8.0f%% %8.0f%%\n", name.c_str(), static_cast<long long>(m), row.seconds * 1e3,
                flops / row.seconds * 1e-9, bytes / row.seconds * 1e-9, 100 * flops / row.seconds / peak, 100 * bytes / row.seconds / read);
    std::fflush(stdout);
  }

  std::vector<float> Floats(int64_t n) {
    std::vector<float> v(static_cast<size_t>(n));
    for (float& f : v) f = static_cast<float>(random_() % 2001) * 1e-3f - 1.0f;
    return v;
  }

  std::unique_ptr<PackedMatrix> Weight(int64_t n, int64_t k) {
    if (options_.weights == WeightType::kF32) return PackedMatrix::PackF32(Floats(n * k).data(), n, k, k);
    std::vector<bf16> narrow(static_cast<size_t>(n * k));
    F32ToBf16(Floats(n * k).data(), n * k, narrow.data());
    return PackedMatrix::PackBF16(narrow.data(), n, k, k);
  }

  // Two pieces of about 5 us each: what handing one of them over costs shows against the time of one.
  void Dispatch() {
    const std::vector<float> gate = Floats(32768), up = Floats(32768);
    std::vector<float> y(32768);
    ThreadPool alone(1);
    const double half = MedianTime(2001, [&](int) { SiluMul(alone, gate.data(), up.data(), 16384, y.data()); });
    const double both = MedianTime(2001, [&](int) {
      pool_.ParallelFor(2, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) SiluMul(alone, gate.data() + i * 16384, up.data() + i * 16384, 16384, y.data() + i * 16384);
      });
    });
    std::printf("one piece of work %.2f us; two such on two threads %.2f us\n", half * 1e6, both * 1e6);
  }

  void Matrix(const std::string& what, int64_t n, int64_t k, int copies, int64_t m) {
    const std::string name = what + " " + std::to_string(n) + "x" + std::to_string(k);
    if (weights_name_ != name) {
      weights_.clear();
      for (int i = 0; i < copies; ++i) weights_.push_back(Weight(n, k));
      weights_name_ = name;
    }
    const std::vector<float> x = Floats(m * k);
    std::vector<float> y(static_cast<size_t>(m * n));
    Time(name, m, 2.0 * m * n * k, static_cast<double>(weights_[0]->bytes()), m >= 64 ? options_.reps / 3 + 1 : options_.reps,
         [&](int i) { Gemm(pool_, x.data(), m, k, *weights_[i % copies], nullptr, y.data(), n, false); });
  }

  // All matrices of SmolLM2-135M's 30 layers and its head, in order: what one step costs apart from attention and norms.
  void Chain(int64_t m) {
    static const std::pair<int64_t, int64_t> kLayer[] = {{576, 576},  {192, 576},  {192, 576}, {576, 576},
                                                         {1536, 576}, {1536, 576}, {576, 1536}};
    if (chain_.empty()) {
      for (int layer = 0; layer < 30; ++layer) {
        for (const auto& [n, k] : kLayer) chain_.push_back(Weight(n, k));
      }
      chain_.push_back(Weight(49152, 576));
    }
    double flops = 0, bytes = 0;
    const size_t count = m > 8 ? chain_.size() - 1 : chain_.size();  // prefill asks for few rows of logits
    for (size_t i = 0; i < count; ++i) {
      flops += 2.0 * m * chain_[i]->n() * chain_[i]->k();
      bytes += static_cast<double>(chain_[i]->bytes());
    }
    const std::vector<float> x = Floats(m * 1536);
    std::vector<float> y(static_cast<size_t>(m) * (m > 8 ? 1536 : 49152));
    Time(m > 8 ? "smollm2 all layers" : "smollm2 all layers and head", m, flops, bytes, m >= 64 ? 5 : options_.reps / 2 + 1, [&](int) {
      for (size_t i = 0; i < count; ++i) Gemm(pool_, x.data(), m, chain_[i]->k(), *chain_[i], nullptr, y.data(), chain_[i]->n(), false);
    });
  }

  void AttentionCases() {
    for (const auto& [heads, kv_heads, dim] : {std::array<int64_t, 3>{9, 3, 64}, {32, 8, 128}}) {
      const int64_t width = kv_heads * dim, slots = 8 * 2048;
      std::vector<bf16> k(static_cast<size_t>(slots * width)), v(k.size());
      F32ToBf16(Floats(slots * width).data(), slots * width, k.data());
      F32ToBf16(Floats(slots * width).data(), slots * width, v.data());
      std::vector<int32_t> order(static_cast<size_t>(slots));
      std::iota(order.begin(), order.end(), 0);
      for (const auto& [rows, length, count] :
           {std::array<int64_t, 3>{1, 512, 1}, {1, 2048, 1}, {1, 512, 8}, {512, 512, 1}, {10, 210, 4}}) {
        std::vector<AttentionSegment> segments;
        for (int64_t i = 0; i < count; ++i) segments.push_back({i * rows, (i + 1) * rows, order.data() + i * 2048, length});
        const std::vector<float> q = Floats(rows * count * heads * dim);
        std::vector<float> out(q.size());
        const double pairs = static_cast<double>(count) * (static_cast<double>(rows) * length - rows * (rows - 1) / 2.0);
        const std::string name = "attention " + std::to_string(heads) + "/" + std::to_string(kv_heads) + "x" + std::to_string(dim) +
                                 " over " + std::to_string(count) + "x" + std::to_string(length);
        Time(name, rows * count, 4.0 * pairs * heads * dim, 4.0 * count * length * width, options_.reps, [&](int) {
          PagedAttention(pool_, q.data(), heads * dim, k.data(), v.data(), WeightType::kBF16, heads, kv_heads, dim, 0.125f, segments,
                         out.data(), heads * dim);
        });
      }
    }
  }

  void ElementwiseCases() {
    const int64_t n = 49152;
    const std::vector<float> logits = Floats(n);
    float sum = 0;
    Time("row stats 49152", 1, 0, n * 4.0, options_.reps, [&](int) { sum += RowStats(logits.data(), n).log_sum_exp; });
    for (const int64_t m : {1, 512}) {
      std::vector<float> x = Floats(m * 576), delta = Floats(m * 576), weight = Floats(576), y(x.size());
      Time("add and rms norm 576", m, 0, m * 576 * 12.0, options_.reps,
           [&](int) { AddRmsNorm(pool_, x.data(), delta.data(), m, weight.data(), 576, 1e-5f, y.data()); });
      const std::vector<float> gate = Floats(m * 1536), up = Floats(m * 1536);
      std::vector<float> h(gate.size());
      Time("silu mul 1536", m, 0, m * 1536 * 12.0, options_.reps, [&](int) { SiluMul(pool_, gate.data(), up.data(), m * 1536, h.data()); });
    }
    const int64_t rank = 16, k = 576, width = 1536;
    const std::vector<float> x = Floats(k), a = Floats(rank * k), b_t = Floats(rank * width);
    std::vector<float> z(rank), acc(width);
    Time("lora shrink 16x576", 1, 2.0 * rank * k, rank * k * 4.0, options_.reps,
         [&](int) { LoraShrink(x.data(), k, a.data(), rank, z.data()); });
    Time("lora expand 16x1536", 1, 2.0 * rank * width, rank * width * 4.0, options_.reps,
         [&](int) { LoraExpandAdd(z.data(), rank, b_t.data(), width, 1.0f, acc.data()); });
    if (std::isnan(sum)) std::printf("row stats went wrong\n");
  }

  const Options options_;
  ThreadPool pool_;
  ReadProbe read_;
  std::mt19937 random_{1};
  std::vector<std::unique_ptr<PackedMatrix>> weights_, chain_;
  std::string weights_name_;
  std::vector<Row> rows_;
  std::vector<double> reads_, peaks_;
};

bool ParseIsa(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(BestIsa()); ++i) {
    if (name != IsaName(static_cast<Isa>(i))) continue;
    SetIsa(static_cast<Isa>(i));
    return true;
  }
  return false;
}

bool Parse(int argc, char** argv, Options& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--threads") {
      options.threads = std::atoi(value.c_str());
    } else if (flag == "--reps") {
      options.reps = std::atoi(value.c_str());
    } else if (flag == "--json") {
      options.json = value;
    } else if (flag == "--weights" && (value == "bf16" || value == "f32")) {
      options.weights = value == "bf16" ? WeightType::kBF16 : WeightType::kF32;
    } else if (flag != "--isa" || !ParseIsa(value)) {
      return false;
    }
  }
  return argc % 2 == 1 && options.threads >= 1 && options.reps >= 1;
}

}  // namespace
}  // namespace switchyard::kernels

int main(int argc, char** argv) {
  using namespace switchyard::kernels;
  Options options;
  if (!Parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: kernels_bench [--threads N] [--isa scalar|avx2|avx512|avx512_bf16] [--weights bf16|f32] [--reps N] [--json FILE]\n"
                 "(--isa: one this CPU has)\n");
    return 2;
  }
  Bench bench(options);
  bench.Run();
  return bench.WriteJson() ? 0 : 1;
}
