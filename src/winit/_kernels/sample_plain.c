/* The loops of sample.h for the floor of the platform's ABI. */
#define WINIT_ISA_NAME "baseline"
#include "sample.h"

const winit_table *winit_table_plain(void) { return &table; }
