/* dense.h and statistics.h for both element types, and the table that offers them: what each instruction set's file compiles. */
#include <math.h>

#define WINIT_BITS 32
#include "dense.h"
#include "statistics.h"
#undef WINIT_BITS
#define WINIT_BITS 64
#include "dense.h"
#include "statistics.h"

static const winit_dense_table table = {
    WINIT_ISA_NAME,
    {run_f32, run_f64},
    {activate_f32, activate_f64},
    {derive_f32, derive_f64},
    {make_gradient_f32, make_gradient_f64},
    {make_sampled_f32, make_sampled_f64},
    {measure_f32, measure_f64},
    MR, /* of either type */
};
