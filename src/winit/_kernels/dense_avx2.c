/* The dense pass for AVX2 and FMA, where the compiler can build it and the processor run it. */
#include "dense_table.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define WINIT_AVX2
#define WINIT_ISA_NAME "avx2"
#include <math.h>
#include <string.h>

#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
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

const winit_dense_table *winit_dense_table_avx2(void)
{
    const int present = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return present ? &table : NULL;
}
#else
const winit_dense_table *winit_dense_table_avx2(void) { return NULL; }
#endif
