/* The dense pass for one element type: gemm.h over threads, with what goes before and after a product done on blocks
 * that are in the cache. A template, as gemm.h.
 *
 * a) activations   loops over contiguous numbers
 * b) makers        operands that are not in memory: weights sampled, gradients multiplied by f'
 * c) epilogue      bias, activation, what backward needs, statistics
 * d) tasks         pack a piece of a slab, multiply a block of columns
 * e) run           tasks until there are no more */
#include "gemm.h"

#ifndef WINIT_DENSE_ONCE
#define WINIT_DENSE_ONCE
#include "activations.h"
#include "dense_table.h"
#include "float_mode.h"
#include "processors.h"
#if defined(__SSE2__)
#include <immintrin.h>
#define WINIT_PAUSE() _mm_pause()
#define WINIT_FENCE() _mm_sfence()
#else
#define WINIT_PAUSE() ((void)0)
#define WINIT_FENCE() ((void)0)
#endif

WINIT_GEMM_INLINE void winit_pause(int spins)
{
    if (spins < 1000) {
        WINIT_PAUSE();
    } else {
        WINIT_YIELD();
    }
}

WINIT_GEMM_INLINE void winit_wait_for(_Atomic int64_t *counter, int64_t value)
{
    for (int spins = 0; atomic_load_explicit(counter, memory_order_acquire) < value; spins++) winit_pause(spins);
}

/* Who owns a block of C: its sums are in the caches of the thread at place `owner - 1`; 0 is nobody. */
WINIT_GEMM_INLINE int winit_owns(const _Atomic int64_t *owner, int place)
{
    return atomic_load_explicit(owner, memory_order_relaxed) == place + 1;
}

/* A block of C for one of as many tasks as a slab has blocks: one whose owner this thread is, while there are such, else
 * anybody's, from the end, which its owner reaches last. Where two cores share no cache, that makes a product of 32 rows
 * 4% faster (docs/dense.md). */
WINIT_GEMM_INLINE ptrdiff_t winit_claim_block(const winit_product *p, int64_t slab, ptrdiff_t blocks, int place)
{
    const int64_t step = slab % p->k_blocks;
    _Atomic int64_t *claimed = p->claimed + slab / p->k_blocks * blocks;
    _Atomic int64_t *owner = p->owner + slab / p->k_blocks * blocks;
    for (int spins = 0;; spins++) {
        for (int own = 1; own >= 0; own--) {
            for (ptrdiff_t i = 0; i < blocks; i++) {
                const ptrdiff_t block = own || step == 0 ? i : blocks - 1 - i;
                int64_t expected = step;
                if (own && !winit_owns(&owner[block], place)) continue;
                if (atomic_load_explicit(&claimed[block], memory_order_relaxed) != step) continue;
                if (atomic_compare_exchange_strong(&claimed[block], &expected, step + 1)) {
                    atomic_store_explicit(&owner[block], place + 1, memory_order_relaxed);
                    return block;
                }
            }
        }
        winit_pause(spins); /* what is left is still to be taken by a task of the slab before */
    }
}
#endif

#define PRECISE (WINIT_BITS == 64)

WINIT_GEMM_INLINE ptrdiff_t T(least)(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* ---- a) activations --------------------------------------------------------------------------------------------- */

#define WINIT_LOOP(expression)                                                                                         \
    for (size_t i = 0; i < count; i++) {                                                                               \
        const double x = (double)from[i];                                                                              \
        to[i] = (real)(expression);                                                                                    \
    }                                                                                                                  \
    break;

WINIT_GEMM_NOINLINE void T(activate_values)(enum winit_activation f, double param, const real *restrict from,
                                            real *restrict to, size_t count)
{
    const real slope = (real)param;
    switch (f) {
    case WINIT_SIGMOID: WINIT_LOOP(winit_sigmoid(x, PRECISE))
    case WINIT_TANH: WINIT_LOOP(winit_tanh(x, PRECISE))
    case WINIT_RELU:
        for (size_t i = 0; i < count; i++) to[i] = from[i] < 0 ? 0 : from[i];
        break;
    case WINIT_LEAKY_RELU:
        for (size_t i = 0; i < count; i++) to[i] = from[i] < 0 ? slope * from[i] : from[i];
        break;
    case WINIT_ELU: WINIT_LOOP(winit_elu(x, param, PRECISE))
    case WINIT_SELU: WINIT_LOOP(winit_selu(x, PRECISE))
    case WINIT_SOFTPLUS: WINIT_LOOP(winit_softplus(x, PRECISE))
    case WINIT_GELU: WINIT_LOOP(winit_gelu(x, PRECISE))
    case WINIT_GELU_TANH: WINIT_LOOP(winit_gelu_tanh(x, PRECISE))
    case WINIT_SILU: WINIT_LOOP(winit_silu(x, PRECISE))
    case WINIT_MISH: WINIT_LOOP(winit_mish(x, PRECISE))
    default:
        memcpy(to, from, count * sizeof *to);
    }
}

/* to = to f', f' told by what was kept: the input of gelu, gelu_tanh, silu and mish, else the output. f' is rounded to
 * the type, then the product. */
#define WINIT_SLOPE_LOOP(expression)                                                                                   \
    for (size_t i = 0; i < count; i++) {                                                                               \
        const double x = (double)from[i];                                                                              \
        to[i] = to[i] * (real)(expression);                                                                            \
    }                                                                                                                  \
    break;

WINIT_GEMM_NOINLINE void T(derive_values)(enum winit_activation f, double param, const real *restrict from,
                                          real *restrict to, size_t count)
{
    const real slope = (real)param;
    switch (f) {
    case WINIT_SIGMOID: WINIT_SLOPE_LOOP(winit_sigmoid_slope(x))
    case WINIT_TANH: WINIT_SLOPE_LOOP(winit_tanh_slope(x))
    case WINIT_RELU:
        for (size_t i = 0; i < count; i++) to[i] = from[i] > 0 ? to[i] : 0;
        break;
    case WINIT_LEAKY_RELU:
        for (size_t i = 0; i < count; i++) to[i] = from[i] > 0 ? to[i] : slope * to[i];
        break;
    case WINIT_ELU: WINIT_SLOPE_LOOP(winit_elu_slope(x, (double)slope))
    case WINIT_SELU: WINIT_SLOPE_LOOP(winit_selu_slope(x, (double)(real)(WINIT_SELU_SCALE * WINIT_SELU_ALPHA)))
    case WINIT_SOFTPLUS: WINIT_SLOPE_LOOP(winit_softplus_slope(x, PRECISE))
    case WINIT_GELU: WINIT_SLOPE_LOOP(winit_gelu_derivative(x, PRECISE))
    case WINIT_GELU_TANH: WINIT_SLOPE_LOOP(winit_gelu_tanh_derivative(x, PRECISE))
    case WINIT_SILU: WINIT_SLOPE_LOOP(winit_silu_derivative(x, PRECISE))
    case WINIT_MISH: WINIT_SLOPE_LOOP(winit_mish_derivative(x, PRECISE))
    default: break;
    }
}
#undef WINIT_LOOP
#undef WINIT_SLOPE_LOOP

static void T(activate)(enum winit_activation f, double param, const void *from, void *to, size_t count)
{
    const winit_float_mode saved = winit_default_float_mode();
    T(activate_values)(f, param, from, to, count);
    winit_restore_float_mode(saved);
}

static void T(derive)(enum winit_activation f, double param, const void *from, void *to, size_t count)
{
    const winit_float_mode saved = winit_default_float_mode();
    T(derive_values)(f, param, from, to, count);
    winit_restore_float_mode(saved);
}

/* ---- b) makers -------------------------------------------------------------------------------------------------- */

static void T(make_sampled)(const winit_matrix *m, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t column, ptrdiff_t columns,
                            int first, void *scratch)
{
    const winit_sampled *s = m->maker;
    (void)first;
    if (columns == s->step) { /* whole rows run on */
        s->fill(s->key, (uint64_t)row * s->step, (uint64_t)(row + rows) * s->step, scratch, sizeof(real), s->params,
                WINIT_STORE, 0.0);
        return;
    }
    for (ptrdiff_t r = 0; r < rows; r++) {
        const uint64_t lo = (uint64_t)(row + r) * s->step + column;
        s->fill(s->key, lo, lo + columns, (char *)((real *)scratch + r * columns), sizeof(real), s->params, WINIT_STORE,
                0.0);
    }
}

/* g where its bit is set; where not, 0 (relu: of infinities and NaN too) or slope * g. */
WINIT_GEMM_INLINE void T(derive_bits)(int relu, real slope, const uint8_t *bits, real *g, ptrdiff_t count)
{
    ptrdiff_t i = 0;
#if WINIT_BITS == 32 && defined(WINIT_AVX512)
    const __m512 slopes = _mm512_set1_ps(slope);
    for (; i + 16 <= count; i += 16) {
        uint16_t word;
        memcpy(&word, bits + i / 8, sizeof word);
        const __m512 v = _mm512_loadu_ps(g + i);
        const __m512 below = relu ? _mm512_setzero_ps() : _mm512_mul_ps(v, slopes);
        _mm512_storeu_ps(g + i, _mm512_mask_mov_ps(below, word, v));
    }
#elif WINIT_BITS == 32 && defined(WINIT_AVX2)
    const __m256 slopes = _mm256_set1_ps(slope);
    const __m256i places = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    for (; i + 8 <= count; i += 8) {
        const __m256i found = _mm256_and_si256(_mm256_set1_epi32(bits[i / 8]), places);
        const __m256 set = _mm256_castsi256_ps(_mm256_cmpeq_epi32(found, places)), v = _mm256_loadu_ps(g + i);
        _mm256_storeu_ps(g + i, relu ? _mm256_and_ps(v, set) : _mm256_blendv_ps(_mm256_mul_ps(v, slopes), v, set));
    }
#elif WINIT_BITS == 32 && defined(WINIT_NEON)
    const uint32x4_t low = {1, 2, 4, 8}, high = {16, 32, 64, 128};
    for (; i + 8 <= count; i += 8) {
        const uint32x4_t byte = vdupq_n_u32(bits[i / 8]);
        const float32x4_t v0 = vld1q_f32(g + i), v1 = vld1q_f32(g + i + 4), none = vdupq_n_f32(0);
        const float32x4_t below0 = relu ? none : vmulq_n_f32(v0, slope), below1 = relu ? none : vmulq_n_f32(v1, slope);
        vst1q_f32(g + i, vbslq_f32(vtstq_u32(byte, low), v0, below0));
        vst1q_f32(g + i + 4, vbslq_f32(vtstq_u32(byte, high), v1, below1));
    }
#endif
    for (; i + 8 <= count; i += 8) {
        const unsigned byte = bits[i >> 3];
        for (int j = 0; j < 8; j++) g[i + j] = byte >> j & 1 ? g[i + j] : relu ? 0 : slope * g[i + j];
    }
    for (; i < count; i++) g[i] = bits[i >> 3] >> (i & 7) & 1 ? g[i] : relu ? 0 : slope * g[i];
}

/* Whether each number is above 0. */
WINIT_GEMM_INLINE void T(write_bits)(const real *z, uint8_t *bits, ptrdiff_t count)
{
    ptrdiff_t i = 0;
#if WINIT_BITS == 32 && defined(WINIT_AVX512)
    for (; i + 16 <= count; i += 16) {
        const uint16_t word = _mm512_cmp_ps_mask(_mm512_loadu_ps(z + i), _mm512_setzero_ps(), _CMP_GT_OQ);
        memcpy(bits + i / 8, &word, sizeof word);
    }
#elif WINIT_BITS == 32 && defined(WINIT_AVX2)
    for (; i + 8 <= count; i += 8) {
        const __m256 above = _mm256_cmp_ps(_mm256_loadu_ps(z + i), _mm256_setzero_ps(), _CMP_GT_OQ);
        bits[i / 8] = (uint8_t)_mm256_movemask_ps(above);
    }
#elif WINIT_BITS == 32 && defined(WINIT_NEON)
    const uint32x4_t low = {1, 2, 4, 8}, high = {16, 32, 64, 128};
    for (; i + 8 <= count; i += 8) {
        const uint32x4_t first = vcgtzq_f32(vld1q_f32(z + i)), second = vcgtzq_f32(vld1q_f32(z + i + 4));
        bits[i / 8] = (uint8_t)vaddvq_u32((first & low) | (second & high));
    }
#endif
    for (; i < count; i += 8) {
        unsigned byte = 0;
        const int here = count - i < 8 ? (int)(count - i) : 8;
        for (int j = 0; j < here; j++) byte |= (unsigned)(z[i + j] > 0) << j;
        bits[i / 8] = (uint8_t)byte;
    }
}

static void T(make_gradient)(const winit_matrix *m, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t column, ptrdiff_t columns,
                             int first, void *scratch)
{
    const winit_gradient *s = m->maker;
    for (ptrdiff_t r = row; r < row + rows; r++) {
        real *g = (real *)scratch + (r - row) * columns;
        const real *grad = (const real *)s->grad + r * s->row + column * s->column;
        if (s->column == 1) {
            memcpy(g, grad, columns * sizeof *g);
        } else {
            for (ptrdiff_t j = 0; j < columns; j++) g[j] = grad[j * s->column];
        }
        if (s->activation == WINIT_RELU || s->activation == WINIT_LEAKY_RELU) {
            const uint8_t *bits = (const uint8_t *)s->kept + r * s->kept_row + column / 8;
            T(derive_bits)(s->activation == WINIT_RELU, (real)s->param, bits, g, columns);
        } else if (s->activation != WINIT_IDENTITY) {
            const real *kept = (const real *)s->kept + r * s->kept_row + column * s->kept_column;
            real row_of_kept[WINIT_KC > WINIT_BLOCK_COLUMNS ? WINIT_KC : WINIT_BLOCK_COLUMNS]; /* blocks are no wider */
            if (s->kept_column != 1) {
                for (ptrdiff_t j = 0; j < columns; j++) row_of_kept[j] = kept[j * s->kept_column];
                kept = row_of_kept;
            }
            T(derive_values)(s->activation, s->param, kept, g, columns);
        }
        if (first && s->sums != NULL) {
            double *sums = s->sums + r / WINIT_PIECE * s->out + column;
            if (r % WINIT_PIECE == 0) {
                for (ptrdiff_t j = 0; j < columns; j++) sums[j] = (double)g[j];
            } else {
                for (ptrdiff_t j = 0; j < columns; j++) sums[j] += (double)g[j];
            }
        }
    }
}

WINIT_GEMM_INLINE T(view) T(block)(const winit_matrix *m, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t column,
                                   ptrdiff_t columns, int first, real *scratch)
{
    T(view) v = {scratch, columns, 1};
    if (m->make == NULL) {
        v.data = (const real *)m->data + row * m->row + column * m->column;
        v.row = m->row;
        v.column = m->column;
    } else if (m->transposed) {
        m->make(m, column, columns, row, rows, first, scratch);
        v.row = 1;
        v.column = rows;
    } else {
        m->make(m, row, rows, column, columns, first, scratch);
    }
    return v;
}

/* ---- c) epilogue ------------------------------------------------------------------------------------------------ */

typedef struct {
    const winit_product *product;
    ptrdiff_t row, column, columns; /* of C, where a slab's block starts */
} T(finishing);

static void T(finish)(const void *context, ptrdiff_t row, ptrdiff_t rows)
{
    const T(finishing) *where = context;
    const winit_product *p = where->product;
    winit_epilogue *e = p->epilogue;
    const ptrdiff_t column = where->column, columns = where->columns;
    const enum winit_activation f = e->activation;
    const int by_output = f != WINIT_RELU && f != WINIT_LEAKY_RELU && f < WINIT_GELU; /* the output tells f' */
    int64_t zeros = 0, saturations = 0;
    real z[WINIT_BLOCK_COLUMNS], value[WINIT_BLOCK_COLUMNS], slope[WINIT_BLOCK_COLUMNS];
    row += where->row;
    for (ptrdiff_t r = row; r < row + rows; r++) {
        real *y = (real *)p->c + r * p->c_row + column * p->c_column;
        if (p->c_column == 1) {
            memcpy(z, y, columns * sizeof *z);
        } else {
            for (ptrdiff_t j = 0; j < columns; j++) z[j] = y[j * p->c_column];
        }
        if (e->bias != NULL) {
            const real *bias = (const real *)e->bias + column;
            for (ptrdiff_t j = 0; j < columns; j++) z[j] = z[j] + bias[j];
        }
        if (e->moments != NULL) {
            for (ptrdiff_t j = 0; j < columns; j++) slope[j] = 1;
            if (!by_output) T(derive_values)(f, e->param, z, slope, columns);
        }
        if (e->kept != NULL && f < WINIT_GELU) {
            T(write_bits)(z, (uint8_t *)e->kept + r * e->kept_row + column / 8, columns);
        } else if (e->kept != NULL) {
            memcpy((real *)e->kept + r * e->kept_row + column, z, columns * sizeof *z);
        }
        T(activate_values)(f, e->param, z, value, columns);
        if (p->c_column == 1) {
            memcpy(y, value, columns * sizeof *y);
        } else {
            for (ptrdiff_t j = 0; j < columns; j++) y[j * p->c_column] = value[j];
        }
        if (e->moments == NULL) continue;
        if (by_output) T(derive_values)(f, e->param, value, slope, columns);
        for (ptrdiff_t g = 0; g < columns; g += WINIT_GROUP) {
            double sum[8] = {0}, square[8] = {0};
            const ptrdiff_t end = T(least)(columns, g + WINIT_GROUP);
            for (ptrdiff_t j = g; j < end; j++) sum[j & 7] += (double)value[j];
            const double total = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
            const double mean = total / (double)(end - g);
            for (ptrdiff_t j = g; j < end; j++) {
                const double from = (double)value[j] - mean;
                square[j & 7] += from * from;
            }
            double *to = e->moments + (r * e->groups + (column + g) / WINIT_GROUP) * 2;
            to[0] = total;
            to[1] = ((square[0] + square[4]) + (square[2] + square[6])) +
                    ((square[1] + square[5]) + (square[3] + square[7]));
        }
        for (ptrdiff_t j = 0; j < columns; j++) {
            zeros += value[j] == 0;
            saturations += slope[j] < (real)e->saturated && slope[j] > -(real)e->saturated;
        }
    }
    if (e->moments != NULL) {
        atomic_fetch_add_explicit(&e->zeros, zeros, memory_order_relaxed);
        atomic_fetch_add_explicit(&e->saturations, saturations, memory_order_relaxed);
    }
}

/* ---- d) tasks --------------------------------------------------------------------------------------------------- */

static void T(pack_piece)(const winit_product *p, int64_t slab, ptrdiff_t piece, real *work)
{
    const ptrdiff_t row = slab / p->k_blocks * p->mc, m = T(least)(p->mc, p->m - row), in_slab = piece * WINIT_PIECE;
    const ptrdiff_t k = slab % p->k_blocks * WINIT_KC, kc = T(least)(WINIT_KC, p->k - k);
    if (in_slab < m) {
        const ptrdiff_t rows = T(least)(WINIT_PIECE, m - in_slab);
        const T(view) a = T(block)(&p->a, row + in_slab, rows, k, kc, 1, work);
        T(pack_a)(a, m, in_slab, rows, kc, (real *)(p->slab + slab % p->buffers * p->slab_bytes));
    }
}

/* Where the block lies that this thread most likely multiplies next, for the tiles of this one to ask memory for. */
static winit_ahead T(next_block)(const winit_product *p, ptrdiff_t k, ptrdiff_t block, const _Atomic int64_t *owner,
                                 int place)
{
    winit_ahead ahead = {NULL, 0, 1, 0, 0};
    const winit_matrix *b = &p->b;
    const ptrdiff_t on = k == 0 ? p->threads : 1; /* blocks without an owner are taken in turn */
    for (block += on; block < p->n_blocks && k > 0 && !winit_owns(&owner[block], place);) block++;
    if (block >= p->n_blocks) {
        for (block = 0; block < p->n_blocks - 1 && !winit_owns(&owner[block], place);) block++;
        k += WINIT_KC;
    }
    if (b->make == NULL && k < p->k && p->splits == 1 && (b->row == 1 || b->column == 1)) {
        const ptrdiff_t column = block * p->nc, columns = T(least)(p->nc, p->n - column);
        const ptrdiff_t kc = T(least)(WINIT_KC, p->k - k), natural = b->column == 1;
        ahead.from = (const char *)((const real *)b->data + k * b->row + column * b->column);
        ahead.row = (natural ? b->row : b->column) * (ptrdiff_t)sizeof(real);
        ahead.each = ((natural ? columns : kc) * sizeof(real) + 127) / 128;
        ahead.steps = (natural ? kc : columns) * ahead.each;
    }
    return ahead;
}

static void T(multiply)(const winit_product *p, int64_t slab, ptrdiff_t block, ptrdiff_t split, int place, real *work)
{
    const ptrdiff_t row = slab / p->k_blocks * p->mc, m = T(least)(p->mc, p->m - row), tiles = T(tile_count)(m);
    const ptrdiff_t first = tiles * split / p->splits, last = tiles * (split + 1) / p->splits;
    const ptrdiff_t k_block = slab % p->k_blocks, k = k_block * WINIT_KC, kc = T(least)(WINIT_KC, p->k - k);
    const ptrdiff_t column = block * p->nc, columns = T(least)(p->nc, p->n - column);
    const real *packed = (const real *)(p->slab + slab % p->buffers * p->slab_bytes);
    real *const panels = work, *const scratch = work + WINIT_KC * p->nc;
    T(tile_out) c = {(real *)p->c + row * p->c_row + column * p->c_column, p->c_row, p->c_column, NR, WINIT_TILE_STORE};
    if (first == last) return;
    if (k_block > 0 || p->adding) {
        c.mode = WINIT_TILE_ADD;
    } else if (p->streaming && p->k_blocks == 1 && p->epilogue == NULL &&
               ((uintptr_t)c.data | (c.row * sizeof(real))) % sizeof(T(vec)) == 0) {
        c.mode = WINIT_TILE_STREAM;
    }
    const T(view) b = T(block)(&p->b, k, kc, column, columns, row == 0 && split == 0, scratch);
    const T(finishing) finishing = {p, row, column, columns};
    const _Atomic int64_t *owner = p->owner + slab / p->k_blocks * p->n_blocks * p->splits;
    T(multiply_block)(m, first, last, kc, packed, b, columns, panels, T(next_block)(p, k, block, owner, place), c,
                      p->epilogue != NULL && k_block == p->k_blocks - 1 ? T(finish) : NULL, &finishing);
    if (c.mode == WINIT_TILE_STREAM) WINIT_FENCE();
}

/* ---- e) run ----------------------------------------------------------------------------------------------------- */

static void T(task)(winit_product *p, int64_t task, int place, real *work)
{
    const int64_t blocks = (int64_t)p->n_blocks * p->splits, group = p->pieces + blocks;
    int64_t slab = 0, piece = task;
    int packing = 1;
    if (task >= p->pieces) { /* after the first slab's pieces: the next slab's pieces, then this slab's blocks */
        task -= p->pieces;
        slab = task / group;
        piece = task % group;
        packing = slab < p->slabs - 1 && piece < p->pieces;
        slab += packing;
    }
    if (packing) {
        if (slab >= p->buffers) winit_wait_for(&p->multiplied[slab - p->buffers], blocks);
        T(pack_piece)(p, slab, (ptrdiff_t)piece, work);
        atomic_fetch_add_explicit(&p->packed[slab], 1, memory_order_release);
    } else {
        winit_wait_for(&p->packed[slab], p->pieces);
        const ptrdiff_t block = winit_claim_block(p, slab, blocks, place);
        _Atomic int64_t *progress = &p->progress[slab / p->k_blocks * blocks + block];
        winit_wait_for(progress, slab % p->k_blocks);
        T(multiply)(p, slab, block / p->splits, block % p->splits, place, work);
        atomic_fetch_add_explicit(progress, 1, memory_order_release);
        atomic_fetch_add_explicit(&p->multiplied[slab], 1, memory_order_release);
    }
}

WINIT_GEMM_NOINLINE int64_t T(tasks)(winit_product *p, int64_t limit)
{
    int64_t done = 0;
    int place = 0, expected = 0;
    while (!atomic_compare_exchange_strong(&p->busy[place], &expected, 1)) {
        place = (place + 1) % p->threads;
        expected = 0;
    }
    real *work = (real *)(p->work + (size_t)place * p->work_bytes);
    for (; done < limit; done++) {
        const int64_t task = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (task >= p->tasks) break;
        T(task)(p, task, place, work);
    }
    atomic_store(&p->busy[place], 0);
    return done;
}

static int64_t T(run)(winit_product *p, int64_t limit)
{
    const winit_float_mode saved = winit_default_float_mode();
    const int64_t done = T(tasks)(p, limit);
    winit_restore_float_mode(saved);
    return done;
}
