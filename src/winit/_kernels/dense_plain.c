/* The dense pass for the platform's ABI floor; where that has no fused multiply-add, it is emulated. */
#define WINIT_ISA_NAME "baseline"
#include <math.h>

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

const winit_dense_table *winit_dense_table_plain(void) { return &table; }
