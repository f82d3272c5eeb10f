// Forces a function into its caller; see simd_avx512.h for why this room depends on it.
#pragma once

#define SWITCHYARD_INLINE inline __attribute__((always_inline))
