/* The loops of sample.h for NEON, which every aarch64 processor has: the compiler makes vectors of the transforms in any
 * build there, but not of Philox's widening products, which are written out. Stores are not past the cache: a processor
 * takes long runs of them there by itself. */
#include "sample_table.h"

#if defined(__aarch64__) && defined(__ARM_NEON) && defined(__GNUC__)
#define WINIT_NEON
#define WINIT_ISA_NAME "neon"
#include <arm_neon.h>

#include "sample.h"

const winit_table *winit_table_neon(void) { return &table; }
#else
const winit_table *winit_table_neon(void) { return NULL; }
#endif
