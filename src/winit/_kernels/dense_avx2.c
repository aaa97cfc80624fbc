/* The dense pass for AVX2 and FMA, where the compiler can build it and the processor run it. */
#include "dense_table.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define WINIT_AVX2
#define WINIT_ISA_NAME "avx2"

#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include "dense_types.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC reset_options
#endif

const winit_dense_table *winit_dense_table_avx2(void)
{
    const int present = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return present ? &table : NULL;
}
#else
const winit_dense_table *winit_dense_table_avx2(void) { return NULL; }
#endif
