#include <cpuid.h>

#include <algorithm>

#include "engine/kernels/kernel_table.h"
#include "engine/kernels/kernels.h"

namespace switchyard::kernels {

namespace {

struct CpuidResult {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidResult Cpuid(unsigned leaf, unsigned subleaf) {
  CpuidResult r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

constexpr bool Bit(unsigned word, int bit) { return (word >> bit & 1u) != 0; }

// Which register files the operating system saves: bits 1-2 are SSE and AVX, 5-7 the AVX-512 state.
uint64_t EnabledState() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

Isa Detect() {
  const CpuidResult one = Cpuid(1, 0), seven = Cpuid(7, 0), seven_one = Cpuid(7, 1);
  const bool xsave = Bit(one.ecx, 27);
  if (!xsave || !Bit(one.ecx, 28)) return Isa::kScalar;
  const uint64_t state = EnabledState();
  const bool fma = Bit(one.ecx, 12), avx2 = Bit(seven.ebx, 5);
  if ((state & 0x6) != 0x6 || !fma || !avx2) return Isa::kScalar;
  const bool f = Bit(seven.ebx, 16), dq = Bit(seven.ebx, 17), bw = Bit(seven.ebx, 30), vl = Bit(seven.ebx, 31);
  if ((state & 0xe0) != 0xe0 || !f || !dq || !bw || !vl) return Isa::kAvx2;
  return Bit(seven_one.eax, 5) ? Isa::kAvx512Bf16 : Isa::kAvx512;
}

// Intel's cores (measured on Sapphire Rapids) run the dot product of bf16 pairs at about half the rate of plain FMA; AMD's at twice.
bool SlowBf16Dot() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return ebx == signature_INTEL_ebx && ecx == signature_INTEL_ecx && edx == signature_INTEL_edx;
}

Isa DefaultIsa() { return BestIsa() == Isa::kAvx512Bf16 && SlowBf16Dot() ? Isa::kAvx512 : BestIsa(); }

const KernelTable& TableOf(Isa isa) {
  switch (isa) {
    case Isa::kAvx512Bf16:
      return Avx512Bf16Table();
    case Isa::kAvx512:
      return Avx512Table();
    case Isa::kAvx2:
      return Avx2Table();
    case Isa::kScalar:
      break;
  }
  return ScalarTable();
}

struct Chosen {
  Isa isa = DefaultIsa();
  const KernelTable* table = &TableOf(isa);
};

Chosen& Current() {
  static Chosen chosen;
  return chosen;
}

}  // namespace

Isa BestIsa() {
  static const Isa best = Detect();
  return best;
}

Isa CurrentIsa() { return Current().isa; }

void SetIsa(Isa isa) {
  isa = std::min(isa, BestIsa());
  Current() = {isa, &TableOf(isa)};
}

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kAvx512Bf16:
      return "avx512_bf16";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kScalar:
      break;
  }
  return "scalar";
}

const KernelTable& CurrentTable() { return *Current().table; }

}  // namespace switchyard::kernels
