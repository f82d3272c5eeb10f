#include "engine/kernels/simd_scalar.h"
#include "engine/kernels/table_impl.h"

namespace switchyard::kernels {

const KernelTable& ScalarTable() {
  static const KernelTable table = MakeTable<SimdScalar>();
  return table;
}

}  // namespace switchyard::kernels
