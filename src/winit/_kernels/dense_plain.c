/* The dense pass for the platform's ABI floor; where that has no fused multiply-add, it is emulated. */
#define WINIT_ISA_NAME "baseline"

#include "dense_types.h"

const winit_dense_table *winit_dense_table_plain(void) { return &table; }
