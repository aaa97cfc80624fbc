/* The loops of sample.h for AVX2, where the compiler can build them and the processor run them. */
#include "sample_table.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define WINIT_AVX2
#define WINIT_ISA_NAME "avx2"
#include <math.h>
#include <string.h>

#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif
#include "sample.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC reset_options
#endif

const winit_table *winit_table_avx2(void)
{
    const int present = __builtin_cpu_supports("avx2");
    return present ? &table : NULL;
}
#else
const winit_table *winit_table_avx2(void) { return NULL; }
#endif
