/* The dense pass for NEON, which every aarch64 processor has: tiles for its 32 registers, and the compiler's vectors. */
#include "dense_table.h"

#if defined(__aarch64__) && defined(__ARM_NEON) && defined(__GNUC__)
#define WINIT_NEON
#define WINIT_ISA_NAME "neon"

#include "dense_types.h"

const winit_dense_table *winit_dense_table_neon(void) { return &table; }
#else
const winit_dense_table *winit_dense_table_neon(void) { return NULL; }
#endif
