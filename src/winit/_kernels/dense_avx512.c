/* The dense pass for AVX-512 (F, DQ, BW, VL), where the compiler can build it and the processor run it. */
#include "dense_table.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define WINIT_AVX512
#define WINIT_ISA_NAME "avx512"
#include <math.h>
#include <string.h>

#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512")
#endif
#define WINIT_BITS 32
#include "dense.h"
enum { ROWS_F32 = MR, COLUMNS_F32 = NR };
#undef WINIT_BITS
#define WINIT_BITS 64
#include "dense.h"
enum { ROWS_F64 = MR, COLUMNS_F64 = NR };

static const winit_dense_table table = {
    WINIT_ISA_NAME,
    {run_f32, run_f64},
    {activate_f32, activate_f64},
    {derive_f32, derive_f64},
    {make_gradient_f32, make_gradient_f64},
    {make_sampled_f32, make_sampled_f64},
    {ROWS_F32, ROWS_F64},
    {COLUMNS_F32, COLUMNS_F64},
};

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
