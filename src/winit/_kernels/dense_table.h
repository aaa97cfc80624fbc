/* What the dense pass is made of, for C and for its door: operands, products, and one table per instruction set.
 *
 * A product C = A B is cut into tasks in one order: the slabs of A (a block of rows by a block of k) packed piece by
 * piece, and for each slab the blocks of columns multiplied and added to C. A task waits only for earlier ones, so any
 * number of threads, one included, comes to the end, and the order of additions into an element is always the same. */
#ifndef WINIT_DENSE_TABLE_H
#define WINIT_DENSE_TABLE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "sample_table.h"

enum {
    WINIT_KC = 384,           /* block of k: part of the definition of a product's bits, which changing it changes */
    WINIT_PIECE = 64,         /* rows of a slab packed by one task, and rows to one partial sum of the bias gradient */
    WINIT_GROUP = 64,         /* units of a row to one entry of the statistics */
    WINIT_BLOCK_COLUMNS = 256 /* columns of C at most in one task; a multiple of WINIT_GROUP */
};

enum winit_real { WINIT_REAL_F32, WINIT_REAL_F64, WINIT_REALS };

enum winit_activation {
    WINIT_IDENTITY,
    WINIT_SIGMOID,
    WINIT_TANH,
    WINIT_RELU,
    WINIT_LEAKY_RELU,
    WINIT_ELU,
    WINIT_SELU,
    WINIT_SOFTPLUS,
    WINIT_GELU,
    WINIT_GELU_TANH,
    WINIT_SILU,
    WINIT_MISH,
    WINIT_ACTIVATIONS
};

/* What backward needs of a unit: nothing, a bit (the input was above 0), the output, or the input. */
enum winit_kept { WINIT_KEEP_NOTHING, WINIT_KEEP_BIT, WINIT_KEEP_OUTPUT, WINIT_KEEP_INPUT };

/* A matrix: in memory, with any strides; or, where `make` is set, written block by block into scratch, `columns`
 * contiguous numbers a row. With `transposed`, make knows the transpose of this matrix. `first` tells that no block
 * with these rows and columns was made before. */
struct winit_matrix;
typedef void winit_make_fn(const struct winit_matrix *, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t column,
                           ptrdiff_t columns, int first, void *scratch);
typedef struct winit_matrix {
    const void *data;
    ptrdiff_t row, column; /* strides, elements */
    winit_make_fn *make;
    const void *maker;
    int transposed;
} winit_matrix;

/* Weights that are never stored: element (row, column) is number row * step + column of the stream's tensor. */
typedef struct {
    winit_fill_fn *fill;
    winit_key key;
    double params[9];
    ptrdiff_t step;
} winit_sampled;

/* The gradient at the input of an activation: grad * f', of the matrix batch x out. */
typedef struct {
    const void *grad;
    ptrdiff_t row, column; /* strides, elements */
    enum winit_activation activation;
    double param;
    const void *kept;                /* batch x out, as winit_kept says; bits: (out + 7) / 8 contiguous bytes a row */
    ptrdiff_t kept_row, kept_column; /* strides, elements, or bytes */
    double *sums; /* OUT per WINIT_PIECE rows and unit, the sum of this gradient; NULL where nobody asks */
    ptrdiff_t out;
} winit_gradient;

/* What follows a product in the dense pass: y = f(C + bias), what is kept, and the statistics. */
typedef struct {
    enum winit_activation activation;
    double param, saturated; /* a unit is saturated where |f'| is below this */
    const void *bias;        /* contiguous, or NULL */
    void *kept;              /* bits or inputs, contiguous; NULL for the others */
    ptrdiff_t kept_row;
    double *moments; /* OUT batch x groups x 2: of each group of a row's y, their sum and the sum of squares about
                      * their mean; NULL without statistics */
    ptrdiff_t groups;
    _Atomic int64_t zeros, saturations;
} winit_epilogue;

typedef struct {
    ptrdiff_t m, n, k;
    enum winit_real type;
    winit_matrix a, b;
    char *c;
    ptrdiff_t c_row, c_column; /* strides, elements */
    int adding;                /* C = C + A B */
    int streaming;             /* C is larger than the cache and read by nobody soon: store past it where that can be */
    winit_epilogue *epilogue;  /* or NULL */
    int threads;
    /* set by winit_product_plan */
    ptrdiff_t mc, nc, splits, m_blocks, n_blocks, k_blocks, pieces;
    int64_t tasks, slabs;
    int buffers;
    size_t slab_bytes, work_bytes;
    /* set by winit_product_begin */
    char *memory, *slab, *work;
    _Atomic int64_t next, *packed, *multiplied; /* next task; per slab, pieces and blocks done */
    _Atomic int64_t *progress, *claimed, *owner; /* per block of C, blocks of k added and taken, and by whom last */
    _Atomic int *busy;
} winit_product;

/* Rows of a batch, at most WINIT_PIECE, `units` contiguous numbers each; what is summed of them. */
typedef struct {
    const void *y, *first; /* `first` is what the batch's units are summed about */
    ptrdiff_t row, rows, units; /* row: stride, elements */
    double *lengths;            /* OUT of each row: the sum of squares */
    double *sums, *squares;     /* ADDED TO, of each unit: y - first, and its square */
    double *nonzeros, *directions; /* ADDED TO, of each unit: how many are not 0, and y of rows of length 1; or NULL */
} winit_piece;

/* Do up to `limit` tasks; returns how many were done, fewer than limit when there are no more. */
typedef int64_t winit_product_fn(winit_product *, int64_t limit);
/* to = f(from); to = to f', f' from the inputs of gelu, gelu_tanh, silu and mish, from the outputs of the others. */
typedef void winit_activate_fn(enum winit_activation, double param, const void *from, void *to, size_t count);
typedef void winit_derive_fn(enum winit_activation, double param, const void *from, void *to, size_t count);

/* Take a piece's statistics; returns how many rows are all 0 and have no direction. */
typedef int64_t winit_measure_fn(const winit_piece *);

typedef struct winit_dense_table {
    const char *name;
    winit_product_fn *run[WINIT_REALS];
    winit_activate_fn *activate[WINIT_REALS];
    winit_derive_fn *derive[WINIT_REALS];
    winit_make_fn *make_gradient[WINIT_REALS], *make_sampled[WINIT_REALS];
    winit_measure_fn *measure[WINIT_REALS];
    ptrdiff_t tile_rows;
} winit_dense_table;

const winit_dense_table *winit_dense_table_plain(void);
const winit_dense_table *winit_dense_table_neon(void);
const winit_dense_table *winit_dense_table_avx2(void);
const winit_dense_table *winit_dense_table_avx512(void);

/* product.c: cut a product into tasks; take its memory (0, or -1 where there is none); give it back. */
void winit_product_plan(winit_product *, const winit_dense_table *);
int winit_product_begin(winit_product *);
void winit_product_end(winit_product *);

#endif
