/* The matrix product C = A B, every element one fused-multiply-add chain over k ascending within blocks of WINIT_KC,
 * block sums added in order: the bits depend on neither tile, thread nor instruction set.
 *
 * A template: include it with WINIT_BITS 32 or 64, once each; names end in _f32 or _f64.
 *
 * a) vectors       LANES numbers and one fused multiply-add, emulated where the processor has none
 * b) packing       rows of A as tiles [k][height], columns of B as panels [k][NR]
 * c) micro-kernel  a tile of up to MR x NR sums in registers over one block of k
 * d) tile          its sums into C: stored, added, past the cache, strided
 * e) block         a block of columns of B times all tiles of a slab of A; dense.h cuts products into these
 *
 * Blocking, float32: MR 14 x NR 32 with AVX-512 (28 sums, 14 broadcasts and 2 loads for 28 multiply-adds), 6 x 16 with
 * AVX2, 12 x 8 with NEON, 4 x 8 with none of these. docs/dense.md has the measurements. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(WINIT_AVX512) || defined(WINIT_AVX2)
#include <immintrin.h>
#elif defined(WINIT_NEON)
#include <arm_neon.h>
#endif

#if !defined(WINIT_BITS) || (WINIT_BITS != 32 && WINIT_BITS != 64)
#error "winit: gemm.h is a template; define WINIT_BITS as 32 or as 64 before including it"
#endif

#ifndef WINIT_GEMM_ONCE
#define WINIT_GEMM_ONCE

#if defined(__GNUC__)
#define WINIT_GEMM_INLINE static inline __attribute__((always_inline, unused))
#define WINIT_GEMM_NOINLINE static __attribute__((noinline, unused))
#define WINIT_PREFETCH(p) __builtin_prefetch((p), 0, 2)
#define WINIT_UNROLL _Pragma("GCC unroll 16")
#define WINIT_UNROLL_4 _Pragma("GCC unroll 4")
#else
#define WINIT_GEMM_INLINE static inline
#define WINIT_GEMM_NOINLINE static
#define WINIT_PREFETCH(p) ((void)0)
#define WINIT_UNROLL
#define WINIT_UNROLL_4
#endif
#define WINIT_PASTE_(a, b) a##b
#define WINIT_PASTE(a, b) WINIT_PASTE_(a, b)

#if defined(WINIT_AVX512) || defined(WINIT_AVX2) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) ||                  \
    defined(__aarch64__)
#define WINIT_HAS_FMA 1
#else
#define WINIT_HAS_FMA 0
#endif

/* a b + c rounded once, without the instruction. The product of two floats is exact in double, and their sum with c,
 * rounded there to odd (Boldo and Melquiond 2008), rounds to float as the exact sum does: 53 >= 2 * 24 + 2. */
WINIT_GEMM_INLINE float winit_emulated_fma_f32(float a, float b, float c)
{
    const double product = (double)a * (double)b, addend = (double)c;
    double sum = product + addend;
    const double rest = sum - product;
    const double error = (product - (sum - rest)) + (addend - rest);
    int64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if ((bits & 1) == 0 && (error < 0.0 || error > 0.0)) {
        bits += (error > 0.0) == (sum > 0.0) ? 1 : -1;
        memcpy(&sum, &bits, sizeof sum);
    }
    return (float)sum;
}

#endif

#undef real
#undef LANES
#undef MR
#undef NR
#undef NV
#undef T
#undef VEC_FMA
#undef VEC_STREAM
#undef VEC_FMA_LANE
#undef WINIT_TRANSPOSE_LANES
#undef PRECISE
#if WINIT_BITS == 32
#define real float
#define T(name) WINIT_PASTE(name, _f32)
#else
#define real double
#define T(name) WINIT_PASTE(name, _f64)
#endif

/* ---- a) vectors ------------------------------------------------------------------------------------------------- */

#if defined(WINIT_AVX512)
#define LANES (512 / WINIT_BITS)
#define MR 14
#if WINIT_BITS == 32
#define VEC_FMA(a, b, c) (T(vec)) _mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define VEC_STREAM(p, v) _mm512_stream_ps((p), (__m512)(v))
#else
#define VEC_FMA(a, b, c) (T(vec)) _mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#define VEC_STREAM(p, v) _mm512_stream_pd((p), (__m512d)(v))
#endif
#elif defined(WINIT_AVX2)
#define LANES (256 / WINIT_BITS)
#define MR 6
#if WINIT_BITS == 32
#define VEC_FMA(a, b, c) (T(vec)) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define VEC_STREAM(p, v) _mm256_stream_ps((p), (__m256)(v))
#else
#define VEC_FMA(a, b, c) (T(vec)) _mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#define VEC_STREAM(p, v) _mm256_stream_pd((p), (__m256d)(v))
#endif
#elif defined(WINIT_NEON)
/* 24 sums, 2 vectors of B and the rows of A that are multiplied next fit the 32 registers; a multiply-add takes one lane
 * of a vector of A as it is, so that 4 rows of float32 are one load. */
#define LANES (128 / WINIT_BITS)
#define MR 12
#if WINIT_BITS == 32
#define VEC_FMA(a, b, c) (T(vec)) vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#define VEC_FMA_LANE(a, lane, b, c) (T(vec)) vfmaq_laneq_f32((float32x4_t)(c), (float32x4_t)(b), (float32x4_t)(a), lane)
#else
#define VEC_FMA(a, b, c) (T(vec)) vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
#define VEC_FMA_LANE(a, lane, b, c) (T(vec)) vfmaq_laneq_f64((float64x2_t)(c), (float64x2_t)(b), (float64x2_t)(a), lane)
#endif
#else
#define LANES (128 / WINIT_BITS)
#define MR 4
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#undef VEC_STREAM /* sanitizers do not see these stores */
#endif
#define NV 2 /* vectors to a row of a tile */
#define NR (NV * LANES)

#if defined(__GNUC__)
typedef real T(vec) __attribute__((vector_size(LANES * sizeof(real))));
#else
typedef struct { real lane[LANES]; } T(vec);
#endif

WINIT_GEMM_INLINE T(vec) T(load)(const real *p)
{
    T(vec) v;
    memcpy(&v, p, sizeof v);
    return v;
}

WINIT_GEMM_INLINE void T(store)(real *p, T(vec) v) { memcpy(p, &v, sizeof v); }

WINIT_GEMM_INLINE T(vec) T(zero)(void)
{
    T(vec) v;
    memset(&v, 0, sizeof v);
    return v;
}

WINIT_GEMM_INLINE real T(fma)(real a, real b, real c)
{
#if WINIT_BITS == 32 && WINIT_HAS_FMA && defined(__GNUC__)
    return __builtin_fmaf(a, b, c);
#elif WINIT_BITS == 32
    return winit_emulated_fma_f32(a, b, c);
#elif defined(__GNUC__)
    return __builtin_fma(a, b, c);
#else
    return fma(a, b, c);
#endif
}

/* acc + a * b in every lane, a the same in all of them. */
WINIT_GEMM_INLINE T(vec) T(vec_fma)(real a, T(vec) b, T(vec) acc)
{
#if defined(VEC_FMA)
    return VEC_FMA(a - T(zero)(), b, acc);
#else
    real lane[LANES], to[LANES];
    memcpy(lane, &b, sizeof lane);
    memcpy(to, &acc, sizeof to);
    for (int i = 0; i < LANES; i++) to[i] = T(fma)(a, lane[i], to[i]);
    memcpy(&acc, to, sizeof acc);
    return acc;
#endif
}

#if defined(__GNUC__)
WINIT_GEMM_INLINE T(vec) T(vec_add)(T(vec) a, T(vec) b) { return a + b; }
#else
WINIT_GEMM_INLINE T(vec) T(vec_add)(T(vec) a, T(vec) b)
{
    for (int i = 0; i < LANES; i++) a.lane[i] += b.lane[i];
    return a;
}
#endif

typedef struct {
    const real *data;
    ptrdiff_t row, column; /* strides, elements */
} T(view);

/* ---- b) packing ------------------------------------------------------------------------------------------------- */

/* m rows are cut into the fewest tiles of at most MR rows, heights differing by one at most: tile t starts at row
 * tile_start(m, t), and in a packed slab at kc times that. */
WINIT_GEMM_INLINE ptrdiff_t T(tile_count)(ptrdiff_t m) { return (m + MR - 1) / MR; }

WINIT_GEMM_INLINE ptrdiff_t T(tile_start)(ptrdiff_t m, ptrdiff_t t)
{
    const ptrdiff_t count = T(tile_count)(m), height = m / count, taller = m % count;
    return t * height + (t < taller ? t : taller);
}

#if WINIT_BITS == 32 && defined(WINIT_AVX512)
/* LANES rows of LANES numbers, `row` apart, as as many columns, `column` apart, in order. Rows past `last` are not read:
 * it stands for them. */
WINIT_GEMM_INLINE void winit_transpose_lanes(const float *from, ptrdiff_t row, ptrdiff_t last, float *to,
                                             ptrdiff_t column)
{
    __m512 r[16], s[16];
    WINIT_UNROLL
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_ps(from + (i < last ? i : last) * row);
    WINIT_UNROLL
    for (int i = 0; i < 16; i += 2) {
        s[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    WINIT_UNROLL
    for (int i = 0; i < 16; i += 4) {
        const __m512d a = _mm512_castps_pd(s[i]), b = _mm512_castps_pd(s[i + 2]);
        const __m512d c = _mm512_castps_pd(s[i + 1]), d = _mm512_castps_pd(s[i + 3]);
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
    }
    WINIT_UNROLL
    for (int i = 0; i < 4; i++) { /* r[4q + i]: column 4 lane + i of rows 4q .. 4q + 3 */
        const __m512 low01 = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
        const __m512 low23 = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
        const __m512 high01 = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xDD);
        const __m512 high23 = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xDD);
        s[i] = _mm512_shuffle_f32x4(low01, low23, 0x88);
        s[8 + i] = _mm512_shuffle_f32x4(low01, low23, 0xDD);
        s[4 + i] = _mm512_shuffle_f32x4(high01, high23, 0x88);
        s[12 + i] = _mm512_shuffle_f32x4(high01, high23, 0xDD);
    }
    WINIT_UNROLL
    for (int i = 0; i < 16; i++) _mm512_storeu_ps(to + i * column, s[i]);
}
#define WINIT_TRANSPOSE_LANES 1
#elif WINIT_BITS == 32 && defined(WINIT_AVX2)
WINIT_GEMM_INLINE void winit_transpose_lanes(const float *from, ptrdiff_t row, ptrdiff_t last, float *to,
                                             ptrdiff_t column)
{
    __m256 r[8], s[8];
    WINIT_UNROLL
    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(from + (i < last ? i : last) * row);
    WINIT_UNROLL
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    WINIT_UNROLL
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xEE);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xEE);
    }
    WINIT_UNROLL
    for (int i = 0; i < 8; i++) {
        const __m256 low = r[i & 3], high = r[4 + (i & 3)];
        _mm256_storeu_ps(to + i * column,
                         i < 4 ? _mm256_permute2f128_ps(low, high, 0x20) : _mm256_permute2f128_ps(low, high, 0x31));
    }
}
#define WINIT_TRANSPOSE_LANES 1
#elif WINIT_BITS == 32 && defined(WINIT_NEON)
WINIT_GEMM_INLINE void winit_transpose_lanes(const float *from, ptrdiff_t row, ptrdiff_t last, float *to,
                                             ptrdiff_t column)
{
    const float32x4_t r0 = vld1q_f32(from), r1 = vld1q_f32(from + (1 < last ? 1 : last) * row);
    const float32x4_t r2 = vld1q_f32(from + (2 < last ? 2 : last) * row);
    const float32x4_t r3 = vld1q_f32(from + (3 < last ? 3 : last) * row);
    const float32x4_t s0 = vzip1q_f32(r0, r2), s1 = vzip2q_f32(r0, r2);
    const float32x4_t s2 = vzip1q_f32(r1, r3), s3 = vzip2q_f32(r1, r3);
    vst1q_f32(to, vzip1q_f32(s0, s2));
    vst1q_f32(to + column, vzip2q_f32(s0, s2));
    vst1q_f32(to + 2 * column, vzip1q_f32(s1, s3));
    vst1q_f32(to + 3 * column, vzip2q_f32(s1, s3));
}
#define WINIT_TRANSPOSE_LANES 1
#else
#define WINIT_TRANSPOSE_LANES 0
#endif

/* A whole tile, kc columns of `height` rows, from rows whose numbers run on. Columns are stored LANES numbers at a time;
 * what that writes past a column's end is overwritten by the columns after it, of which the last LANES are stored number
 * by number. */
WINIT_GEMM_INLINE void T(pack_rows)(const real *from, ptrdiff_t row, ptrdiff_t height, ptrdiff_t kc, real *to)
{
    ptrdiff_t k = 0;
#if WINIT_TRANSPOSE_LANES
    for (; k + 2 * LANES <= kc; k += LANES) {
        for (ptrdiff_t r = (height - 1) / LANES * LANES; r >= 0; r -= LANES) {
            winit_transpose_lanes(from + r * row + k, row, height - 1 - r, to + k * height + r, height);
        }
    }
#endif
    for (ptrdiff_t r = 0; r < height; r++) {
        for (ptrdiff_t rest = k; rest < kc; rest++) to[rest * height + r] = from[r * row + rest];
    }
}

/* The same from columns whose numbers run on, with at least LANES more rows after these. */
WINIT_GEMM_INLINE void T(pack_columns)(const real *from, ptrdiff_t column, ptrdiff_t height, ptrdiff_t kc, real *to)
{
    ptrdiff_t k = 0;
    for (; k + LANES < kc; k++) {
        for (ptrdiff_t r = 0; r < height; r += LANES) T(store)(to + k * height + r, T(load)(from + k * column + r));
    }
    for (; k < kc; k++) {
        for (ptrdiff_t r = 0; r < height; r++) to[k * height + r] = from[k * column + r];
    }
}

/* Rows [row, row + rows) of the m rows of a slab, kc columns each, from a view that starts at `row`. */
WINIT_GEMM_INLINE void T(pack_a)(T(view) a, ptrdiff_t m, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t kc, real *slab)
{
    const ptrdiff_t count = T(tile_count)(m), end = row + rows;
    ptrdiff_t t = row / (m / count + 1);
    while (row < end) {
        while (t + 1 < count && T(tile_start)(m, t + 1) <= row) t++;
        const ptrdiff_t start = T(tile_start)(m, t), next = t + 1 < count ? T(tile_start)(m, t + 1) : m;
        const ptrdiff_t height = next - start, here = (next < end ? next : end) - row;
        real *to = slab + start * kc + (row - start);
        if (here == height && a.column == 1) {
            T(pack_rows)(a.data, a.row, height, kc, to);
        } else if (here == height && a.row == 1 && next + LANES <= m && a.column >= MR + LANES) {
            T(pack_columns)(a.data, a.column, height, kc, to);
        } else if (a.row == 1) {
            for (ptrdiff_t k = 0; k < kc; k++) {
                for (ptrdiff_t r = 0; r < here; r++) to[k * height + r] = a.data[k * a.column + r];
            }
        } else {
            for (ptrdiff_t r = 0; r < here; r++) {
                const real *from = a.data + r * a.row;
                if (a.column == 1) {
                    for (ptrdiff_t k = 0; k < kc; k++) to[k * height + r] = from[k];
                } else {
                    for (ptrdiff_t k = 0; k < kc; k++) to[k * height + r] = from[k * a.column];
                }
            }
        }
        a.data += here * a.row;
        row += here;
    }
}

/* A panel: kc rows of n columns of B, filled up with zeros to NR. Whole panels whose rows run on are packed by the
 * micro-kernel instead. */
WINIT_GEMM_INLINE void T(pack_b)(T(view) b, ptrdiff_t kc, ptrdiff_t n, real *panel)
{
    ptrdiff_t done = 0; /* rows of the panel */
#if WINIT_TRANSPOSE_LANES
    if (b.row == 1 && n == NR) {
        /* Blocks start where cache lines do, as far as they can; the first and the last overlap their neighbours. */
        const ptrdiff_t head = (ptrdiff_t)((0 - (uintptr_t)b.data) / sizeof(real) % LANES);
        for (ptrdiff_t k = 0; kc >= LANES && done < kc; k = k == 0 && head > 0 ? head : k + LANES) {
            if (k > kc - LANES) k = kc - LANES;
            for (int v = 0; v < NV; v++) {
                winit_transpose_lanes(b.data + k + v * LANES * b.column, b.column, LANES - 1, panel + k * NR + v * LANES, NR);
            }
            done = k + LANES;
        }
    }
#endif
    for (ptrdiff_t j = 0; j < n; j++) {
        const real *from = b.data + j * b.column;
        for (ptrdiff_t k = done; k < kc; k++) panel[k * NR + j] = from[k * b.row];
    }
    for (ptrdiff_t k = done; k < kc; k++) {
        for (ptrdiff_t j = n; j < NR; j++) panel[k * NR + j] = 0;
    }
}

/* ---- c) micro-kernel -------------------------------------------------------------------------------------------- */

/* Lines to ask for while multiplying: two for each of `steps` values of k, `each` such pairs along a row, rows `row`
 * bytes apart. With the next panel asked for by the tiles of this one, memory is read while sums are formed. */
#ifndef WINIT_AHEAD
#define WINIT_AHEAD
enum { WINIT_NEAR = 1 << 19 }; /* bytes of a slab that stay in a second-level cache beside a block of panels */
typedef struct {
    const char *from;
    ptrdiff_t row, each, at, steps;
} winit_ahead;
#endif

/* sums[r][v] += a[r] * row[v] */
WINIT_GEMM_INLINE void T(multiply_column)(const int height, const real *a, const T(vec) row[NV], T(vec) sums[MR][NV])
{
    int r = 0;
#if defined(VEC_FMA_LANE)
    WINIT_UNROLL
    for (; r + LANES <= height; r += LANES) {
        T(vec) several = T(load)(a + r);
        __asm__("" : "+w"(several)); /* else gcc 12 loads one number after the other, and has no registers for them */
        WINIT_UNROLL
        for (int v = 0; v < NV; v++) { /* the number of a lane is part of the instruction */
            sums[r][v] = VEC_FMA_LANE(several, 0, row[v], sums[r][v]);
            sums[r + 1][v] = VEC_FMA_LANE(several, 1, row[v], sums[r + 1][v]);
#if WINIT_BITS == 32
            sums[r + 2][v] = VEC_FMA_LANE(several, 2, row[v], sums[r + 2][v]);
            sums[r + 3][v] = VEC_FMA_LANE(several, 3, row[v], sums[r + 3][v]);
#endif
        }
    }
#endif
    WINIT_UNROLL
    for (; r < height; r++) {
        WINIT_UNROLL
        for (int v = 0; v < NV; v++) sums[r][v] = T(vec_fma)(a[r], row[v], sums[r][v]);
    }
}

/* sums[r][v] over k of a[k][r] * b[k][v]. Where `packing`, the rows of B come from memory, b_row apart, and are laid
 * down as a panel on the way. */
WINIT_GEMM_INLINE void T(micro)(const int height, const int packing, ptrdiff_t kc, const real *a, const real *b,
                                ptrdiff_t b_row, real *panel, winit_ahead *ahead, T(vec) sums[MR][NV])
{
    WINIT_UNROLL
    for (int r = 0; r < height; r++) {
        WINIT_UNROLL
        for (int v = 0; v < NV; v++) sums[r][v] = T(zero)();
    }
    ptrdiff_t k = 0;
#define WINIT_MICRO_STEP                                                                                               \
    {                                                                                                                  \
        T(vec) row[NV];                                                                                                \
        WINIT_UNROLL                                                                                                   \
        for (int v = 0; v < NV; v++) row[v] = T(load)(b + v * LANES);                                                  \
        if (packing) {                                                                                                 \
            WINIT_UNROLL                                                                                               \
            for (int v = 0; v < NV; v++) T(store)(panel + v * LANES, row[v]);                                          \
            panel += NR;                                                                                               \
        }                                                                                                              \
        T(multiply_column)(height, a, row, sums);                                                                      \
        a += height;                                                                                                   \
        b += packing ? b_row : NR;                                                                                     \
    }
    const ptrdiff_t steps = ahead->steps < kc ? ahead->steps : kc;
    for (; k < steps; k++) {
        WINIT_PREFETCH(ahead->from + ahead->at * 128);
        WINIT_PREFETCH(ahead->from + ahead->at * 128 + 64);
        if (++ahead->at == ahead->each) {
            ahead->at = 0;
            ahead->from += ahead->row;
        }
        WINIT_MICRO_STEP
    }
    /* 7% of a product of 32 rows on AVX2; a loss with AVX-512, whose step takes 14 cycles (docs/dense.md). */
#if defined(WINIT_AVX2) && !defined(WINIT_AVX512)
    WINIT_UNROLL_4
#endif
    for (; k < kc; k++) WINIT_MICRO_STEP
#undef WINIT_MICRO_STEP
}

/* ---- d) tile ---------------------------------------------------------------------------------------------------- */

#ifndef WINIT_TILE_MODES
#define WINIT_TILE_MODES
enum winit_tile_mode {
    WINIT_TILE_STORE,  /* C = sums */
    WINIT_TILE_ADD,    /* C = C + sums */
    WINIT_TILE_STREAM, /* C = sums, past the cache: whole aligned lines that nobody reads soon */
};
#endif

typedef struct {
    real *data;
    ptrdiff_t row, column; /* elements */
    ptrdiff_t columns;     /* of this tile, up to NR */
    enum winit_tile_mode mode;
} T(tile_out);

WINIT_GEMM_NOINLINE void T(scatter)(const T(tile_out) *c, int height, const real *sums)
{
    for (int r = 0; r < height; r++) {
        for (ptrdiff_t j = 0; j < c->columns; j++) {
            real *to = c->data + r * c->row + j * c->column;
            const real sum = sums[r * NR + j];
            *to = c->mode == WINIT_TILE_ADD ? *to + sum : sum;
        }
    }
}

WINIT_GEMM_INLINE void T(tile)(const int height, const int packing, ptrdiff_t kc, const real *a, const real *b,
                               ptrdiff_t b_row, real *panel, winit_ahead *ahead, const T(tile_out) *c)
{
    T(vec) sums[MR][NV];
    T(micro)(height, packing, kc, a, b, b_row, panel, ahead, sums);
    if (c->columns < NR || c->column != 1) {
        real all[MR * NR];
        WINIT_UNROLL
        for (int r = 0; r < height; r++) {
            WINIT_UNROLL
            for (int v = 0; v < NV; v++) T(store)(all + r * NR + v * LANES, sums[r][v]);
        }
        T(scatter)(c, height, all);
        return;
    }
#define WINIT_TILE_EMIT(action)                                                                                        \
    WINIT_UNROLL                                                                                                       \
    for (int r = 0; r < height; r++) {                                                                                 \
        real *to = c->data + r * c->row;                                                                               \
        WINIT_UNROLL                                                                                                   \
        for (int v = 0; v < NV; v++) action;                                                                           \
    }
    if (c->mode == WINIT_TILE_ADD) {
        WINIT_TILE_EMIT(T(store)(to + v * LANES, T(vec_add)(T(load)(to + v * LANES), sums[r][v])))
#if defined(VEC_STREAM)
    } else if (c->mode == WINIT_TILE_STREAM) {
        WINIT_TILE_EMIT(VEC_STREAM(to + v * LANES, sums[r][v]))
#endif
    } else {
        WINIT_TILE_EMIT(T(store)(to + v * LANES, sums[r][v]))
    }
#undef WINIT_TILE_EMIT
}

typedef void T(tile_fn)(ptrdiff_t kc, const real *a, const real *b, ptrdiff_t b_row, real *panel, winit_ahead *ahead,
                        const T(tile_out) *c);
#define WINIT_TILE_FN(height)                                                                                          \
    WINIT_GEMM_NOINLINE void T(tile_##height)(ptrdiff_t kc, const real *a, const real *b, ptrdiff_t b_row,             \
                                              real *panel, winit_ahead *ahead, const T(tile_out) *c)                   \
    {                                                                                                                  \
        T(tile)(height, 0, kc, a, b, b_row, panel, ahead, c);                                                          \
    }                                                                                                                  \
    WINIT_GEMM_NOINLINE void T(packing_tile_##height)(ptrdiff_t kc, const real *a, const real *b, ptrdiff_t b_row,     \
                                                      real *panel, winit_ahead *ahead, const T(tile_out) *c)           \
    {                                                                                                                  \
        T(tile)(height, 1, kc, a, b, b_row, panel, ahead, c);                                                          \
    }
WINIT_TILE_FN(1)
WINIT_TILE_FN(2)
WINIT_TILE_FN(3)
WINIT_TILE_FN(4)
#if MR > 4
WINIT_TILE_FN(5)
WINIT_TILE_FN(6)
#endif
#if MR > 6
WINIT_TILE_FN(7)
WINIT_TILE_FN(8)
WINIT_TILE_FN(9)
WINIT_TILE_FN(10)
WINIT_TILE_FN(11)
WINIT_TILE_FN(12)
#endif
#if MR > 12
WINIT_TILE_FN(13)
WINIT_TILE_FN(14)
#endif

#define WINIT_TILES_4(name) T(name##1), T(name##2), T(name##3), T(name##4)
#if MR == 4
#define WINIT_TILES(name) {NULL, WINIT_TILES_4(name)}
#elif MR == 6
#define WINIT_TILES(name) {NULL, WINIT_TILES_4(name), T(name##5), T(name##6)}
#else
#define WINIT_TILES_12(name)                                                                                           \
    NULL, WINIT_TILES_4(name), T(name##5), T(name##6), T(name##7), T(name##8), T(name##9), T(name##10), T(name##11),   \
        T(name##12)
#if MR == 12
#define WINIT_TILES(name) {WINIT_TILES_12(name)}
#else
#define WINIT_TILES(name) {WINIT_TILES_12(name), T(name##13), T(name##14)}
#endif
#endif
static T(tile_fn) *const T(tiles)[2][MR + 1] = {WINIT_TILES(tile_), WINIT_TILES(packing_tile_)};
#undef WINIT_TILES
#undef WINIT_TILES_4
#undef WINIT_TILES_12
#undef WINIT_TILE_FN

/* ---- e) block --------------------------------------------------------------------------------------------------- */

/* A block of B, kc by `columns`, times tiles [first, last) of a slab of m rows, into C, of which c is the first row and
 * column. A tile meets all panels before the next one does: it stays in the first-level cache, and C is written in runs
 * of a block's width. The first tile lays the panels down. `ahead` is spread over all of it; the last panel of a tile
 * asks for the next tile instead, where the slab is too large to be near. `after`, where it is not NULL, is called with
 * each tile's rows when they are done. */
WINIT_GEMM_INLINE void T(multiply_block)(ptrdiff_t m, ptrdiff_t first, ptrdiff_t last, ptrdiff_t kc, const real *slab,
                                         T(view) b, ptrdiff_t columns, real *panels, winit_ahead ahead, T(tile_out) c,
                                         void (*after)(const void *context, ptrdiff_t row, ptrdiff_t rows),
                                         const void *context)
{
    real *const origin = c.data;
    const int distant = m * kc * (ptrdiff_t)sizeof(real) > WINIT_NEAR;
    const ptrdiff_t panels_each = (columns + NR - 1) / NR, all = (last - first) * panels_each;
    const ptrdiff_t calls = distant && panels_each > 1 ? all - (last - first - 1) : all; /* that ask for `ahead` */
    ahead.steps = (ahead.steps + calls - 1) / calls;
    for (ptrdiff_t t = first; t < last; t++) {
        const ptrdiff_t start = T(tile_start)(m, t), height = T(tile_start)(m, t + 1) - start;
        const real *a = slab + start * kc;
        for (ptrdiff_t j = 0; j < columns; j += NR) {
            const T(view) at = {b.data + j * b.column, b.row, b.column};
            real *panel = panels + j * kc;
            c.data = origin + start * c.row + j * c.column;
            c.columns = columns - j < NR ? columns - j : NR;
            if (t == first && b.column == 1 && c.columns == NR) {
                T(tiles)[1][height](kc, a, at.data, at.row, panel, &ahead, &c);
                continue;
            }
            winit_ahead *asked = &ahead, following = {NULL, 128, 1, 0, 0};
            if (t == first) T(pack_b)(at, kc, c.columns, panel);
            if (t == first && b.row == 1 && j + 2 * NR <= columns) { /* the next panel, from where `ahead` brought it */
                following.from = (const char *)(at.data + NR * b.column);
                following.row = b.column * (ptrdiff_t)sizeof(real);
                following.each = (kc * (ptrdiff_t)sizeof(real) + 127) / 128;
                following.steps = kc;
                asked = &following;
            } else if (distant && panels_each > 1 && j + NR >= columns && t + 1 < last) { /* the next tile */
                following.from = (const char *)(a + height * kc);
                following.steps = (height + 1) * kc * (ptrdiff_t)sizeof(real) / 128;
                asked = &following;
            }
            T(tiles)[0][height](kc, a, panel, NR, panel, asked, &c);
        }
        if (after != NULL) after(context, start, height);
    }
}
