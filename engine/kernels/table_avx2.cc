#include "engine/kernels/simd_avx2.h"
#include "engine/kernels/table_impl.h"

namespace switchyard::kernels {

const KernelTable& Avx2Table() {
  static const KernelTable table = MakeTable<SimdAvx2>();
  return table;
}

}  // namespace switchyard::kernels
