/* Sparse connections: each output unit has exactly `keep` distinct inputs, uniformly chosen, with normal weights.
 *
 * a) picks    the inputs of a run of units, by Floyd's method: keep words of tag 1 for a unit, no rejection
 * b) write    normals at elements, 256 at a time, to a destination with any strides
 * c) walk     units of a box -> their inputs inside the box and inside a range of positions: what is written
 *
 * Floyd (Bentley and Floyd 1987): for j = n - keep, ..., n - 1 take t uniform in [0, j]; pick t, or j if t is taken. Each
 * set of `keep` inputs is equally likely if t is uniform. t = floor(word (j + 1) / 2^32): the chance of each t is off by
 * less than 2^-32. */
#ifndef WINIT_SPARSE_H
#define WINIT_SPARSE_H

#include "sample_table.h"

enum { WINIT_MAX_AXES = 64 };

typedef struct {
    const winit_table *table;
    winit_key key;
    double params[2]; /* mean, std */
    enum winit_dtype dtype;
    int adding;
    double scale;
    int axes;
    /* of each axis: global extent, flat step; where the box begins, its size, and its steps in positions; strides of the
     * destination in bytes, unsigned since a tensor's far ones wrap and what is reached is still within the destination;
     * whether it counts units rather than inputs */
    int64_t extent[WINIT_MAX_AXES], step[WINIT_MAX_AXES], begin[WINIT_MAX_AXES], size[WINIT_MAX_AXES];
    int64_t position[WINIT_MAX_AXES];
    size_t stride[WINIT_MAX_AXES];
    int unit[WINIT_MAX_AXES];
    int64_t inputs, keep;
    char *dest; /* the box's first element */
} winit_sparse;

/* Write the connections at `count` positions of the box, in row-major order, from lo on (lo + count may be 2^63); the
 * others are left as they are. 0, or -1 without memory. */
int winit_sparse_write(const winit_sparse *, int64_t lo, int64_t count);

/* The inputs of units [first, last), keep each, ascending, in 64 bits where `wide` and else in 32, and the values there. Element flat index of unit u's input i:
 * unit_step u + input_step i. Of float32 and float64. */
int winit_sparse_rows(const winit_sparse *, int64_t first, int64_t last, int64_t unit_step, int64_t input_step,
                      int wide, void *inputs, void *values);

#endif
