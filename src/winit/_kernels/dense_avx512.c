/* The dense pass for AVX-512 (F, DQ, BW, VL), where the compiler can build it and the processor run it. */
#include "dense_table.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define WINIT_AVX512
#define WINIT_ISA_NAME "avx512"

#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512")
#endif
#include "dense_types.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC reset_options
#endif

const winit_dense_table *winit_dense_table_avx512(void)
{
    const int present = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return present ? &table : NULL;
}
#else
const winit_dense_table *winit_dense_table_avx512(void) { return NULL; }
#endif
