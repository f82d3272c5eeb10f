#include "engine/kernels/simd_avx512.h"
#include "engine/kernels/table_impl.h"

namespace switchyard::kernels {

const KernelTable& Avx512Table() {
  static const KernelTable table = MakeTable<SimdAvx512>();
  return table;
}

}  // namespace switchyard::kernels
