/* The range loops of the sampling kernels, compiled once per instruction set (sample_plain.c, sample_neon.c,
 * sample_avx2.c, sample_avx512.c), each behind one table of function pointers.
 *
 * a) words      Philox blocks [block, block + n), many blocks side by side                        -> L1 buffer
 * b) transform  a point function of approx.h over part of the words, vectorised by the compiler  -> L1 buffer
 * c) emit       the part to its destination: contiguous, past the cache, strided, rounded, added
 * d) fill       cuts [lo, hi) into chunks of whole blocks and runs a, b, c
 * e) door       sample.pyx: boxes to runs, one call per range, without the GIL
 *
 * A chunk's words (8 KB) and a part's values (1 or 2 KB) stay in the first-level cache, which makes one loop per law
 * and one per destination do the work of one per pair. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "winit/approx.h"
#include "float_mode.h"
#include "winit/philox.h"
#include "sample_table.h"

#if defined(__GNUC__)
#define WINIT_INLINE static inline __attribute__((always_inline))
#define WINIT_NOINLINE static __attribute__((noinline))
#else
#define WINIT_INLINE static inline
#define WINIT_NOINLINE static __declspec(noinline)
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "winit: the compiled kernels are little-endian; set WINIT_NO_EXTENSIONS=1 for the NumPy ones"
#endif

enum {
    CHUNK = 2048, /* words */
    PART = 256,   /* values */
    SLACK = 128,  /* loops run over whole turns; what they compute past the end lands here */
#if defined(WINIT_AVX512)
    TURN = 128, /* values that one turn of a wide loop makes, at most */
#else
    TURN = 64,
#endif
#if defined(__clang__)
    FEW = 0
#else
    FEW = TURN / 2
#endif
};

/* How the words of consecutive blocks are laid down: in element order; or for Box-Muller as two planes, the first
 * members of the pairs and the second ones (32-bit words, two pairs to a block, or 64-bit, one pair). */
enum layout { IN_ORDER, PLANES_32, PLANES_64 };

/* ---- a) words --------------------------------------------------------------------------------------------------- */

#if defined(WINIT_AVX512)
#define LANES 8
typedef uint64_t lanes __attribute__((vector_size(64)));
WINIT_INLINE lanes mul32(lanes a, lanes b) { return (lanes)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
WINIT_INLINE lanes pair32(lanes even, lanes odd) /* low halves of both: even | odd << 32 */
{
    return (lanes)_mm512_mask_shuffle_epi32((__m512i)even, 0xAAAA, (__m512i)odd, _MM_PERM_CCAA);
}
WINIT_INLINE void store_in_order(uint32_t *w, lanes w01, lanes w23)
{
    _mm512_storeu_si512(w, _mm512_unpacklo_epi64((__m512i)w01, (__m512i)w23));
    _mm512_storeu_si512(w + 16, _mm512_unpackhi_epi64((__m512i)w01, (__m512i)w23));
}
#elif defined(WINIT_AVX2)
#define LANES 4
typedef uint64_t lanes __attribute__((vector_size(32)));
WINIT_INLINE lanes mul32(lanes a, lanes b) { return (lanes)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
WINIT_INLINE lanes pair32(lanes even, lanes odd)
{
    return (lanes)_mm256_blend_epi32((__m256i)even, _mm256_slli_epi64((__m256i)odd, 32), 0xAA);
}
WINIT_INLINE void store_in_order(uint32_t *w, lanes w01, lanes w23)
{
    _mm256_storeu_si256((__m256i *)w, _mm256_unpacklo_epi64((__m256i)w01, (__m256i)w23));
    _mm256_storeu_si256((__m256i *)(w + 8), _mm256_unpackhi_epi64((__m256i)w01, (__m256i)w23));
}
#elif defined(__SSE2__)
#include <emmintrin.h>
#define LANES 2
typedef uint64_t lanes __attribute__((vector_size(16)));
WINIT_INLINE lanes mul32(lanes a, lanes b) { return (lanes)_mm_mul_epu32((__m128i)a, (__m128i)b); }
WINIT_INLINE lanes pair32(lanes even, lanes odd) { return (even & 0xFFFFFFFFu) | odd << 32; }
WINIT_INLINE void store_in_order(uint32_t *w, lanes w01, lanes w23)
{
    _mm_storeu_si128((__m128i *)w, _mm_unpacklo_epi64((__m128i)w01, (__m128i)w23));
    _mm_storeu_si128((__m128i *)(w + 4), _mm_unpackhi_epi64((__m128i)w01, (__m128i)w23));
}
#elif defined(WINIT_NEON)
#define LANES 2
typedef uint64_t lanes __attribute__((vector_size(16)));
WINIT_INLINE lanes mul32(lanes a, lanes b)
{
    return (lanes)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
}
#endif

#ifdef LANES
WINIT_INLINE lanes spread(uint64_t x) { return (lanes){0} + x; }
#endif

/* Vectors of blocks. `rounds` makes the words of `groups` of them, VECTOR_BLOCKS blocks each, to cover the latency of the
 * products. */
#if defined(WINIT_NEON)
/* A vector has one 32-bit word of each of four blocks. The widening products read halves of such vectors, and one
 * permutation a product and half brings their results back: 12 operations a round for four blocks, where 64-bit lanes
 * would take 20, since the products read no such lanes. */
#define VECTOR_BLOCKS 4
typedef uint32x4_t word_lanes;
typedef struct {
    uint64x2_t ab, cd; /* of blocks a and b, of blocks c and d */
} wide_lanes;

WINIT_INLINE word_lanes spread_word(uint32_t x) { return vdupq_n_u32(x); }

WINIT_INLINE wide_lanes wide_product(uint32_t m, word_lanes c)
{
    const word_lanes all = vdupq_n_u32(m);
    return (wide_lanes){vmull_u32(vget_low_u32(c), vget_low_u32(all)), vmull_high_u32(c, all)};
}

WINIT_INLINE word_lanes low_halves(wide_lanes p)
{
    return vuzp1q_u32(vreinterpretq_u32_u64(p.ab), vreinterpretq_u32_u64(p.cd));
}

WINIT_INLINE word_lanes high_halves(wide_lanes p)
{
    return vuzp2q_u32(vreinterpretq_u32_u64(p.ab), vreinterpretq_u32_u64(p.cd));
}

WINIT_INLINE wide_lanes first_products(enum layout layout, uint32_t first)
{
    (void)layout;
    return wide_product(WINIT_PHILOX_M0, (word_lanes){0, 1, 2, 3} + first);
}

typedef struct schedule { /* what the blocks of one piece share */
    word_lanes key0[WINIT_PHILOX_ROUNDS], key1[WINIT_PHILOX_ROUNDS];
    word_lanes mix_c0, mix_c2, mix_c3;
} schedule;

/* Two blocks from their last products: p0 and p1, the words that these are added to, and the last keys, in turn. */
WINIT_INLINE void store_two(uint64x2_t p0, uint64x2_t p1, word_lanes c1_c3, word_lanes keys, enum layout layout,
                            uint32_t *w, uint32_t *second)
{
    const word_lanes m0 = vreinterpretq_u32_u64(p0), m1 = vreinterpretq_u32_u64(p1);
    const word_lanes c0_c2 = vtrn2q_u32(m1, m0) ^ (c1_c3 ^ keys), other = vtrn1q_u32(m1, m0);
    if (layout == IN_ORDER) {
        vst1q_u32(w, vzip1q_u32(c0_c2, other));
        vst1q_u32(w + 4, vzip2q_u32(c0_c2, other));
    } else {
        vst1q_u32(w, layout == PLANES_32 ? c0_c2 : vtrn1q_u32(c0_c2, other));
        vst1q_u32(second, layout == PLANES_32 ? other : vtrn2q_u32(c0_c2, other));
    }
}

/* `product` is M0 times the low counter words. The last two rounds leave their low words in turn, as they are stored. */
WINIT_INLINE void rounds(const schedule *s, wide_lanes *product, size_t groups, enum layout layout, uint32_t *w,
                         uint32_t *second)
{
    const uint64x2_t next = vdupq_n_u64((uint64_t)WINIT_PHILOX_M0 * VECTOR_BLOCKS);
    const word_lanes last = vzip1q_u32(s->key0[WINIT_PHILOX_ROUNDS - 1], s->key1[WINIT_PHILOX_ROUNDS - 1]);
    word_lanes c0[4], c1[4], c2[4], c3[4];
    for (size_t g = 0; g < groups; g++) {
        c3[g] = low_halves(*product);
        c2[g] = high_halves(*product) ^ s->key1[0];
        product->ab += next;
        product->cd += next;
    }
    for (size_t g = 0; g < groups; g++) {
        const wide_lanes p1 = wide_product(WINIT_PHILOX_M1, c2[g]);
        c1[g] = low_halves(p1);
        c0[g] = high_halves(p1) ^ s->mix_c0;
        c2[g] = c3[g] ^ s->mix_c2;
        c3[g] = s->mix_c3 ^ s->key1[2];
    }
#pragma GCC unroll 7
    for (int r = 2; r < WINIT_PHILOX_ROUNDS - 1; r++) {
        for (size_t g = 0; g < groups; g++) {
            const wide_lanes p0 = wide_product(WINIT_PHILOX_M0, c0[g]), p1 = wide_product(WINIT_PHILOX_M1, c2[g]);
            c0[g] = high_halves(p1) ^ (c1[g] ^ s->key0[r]);
            c2[g] = high_halves(p0) ^ (c3[g] ^ s->key1[r]);
            if (r < WINIT_PHILOX_ROUNDS - 2) {
                c1[g] = low_halves(p1);
                c3[g] = low_halves(p0);
            } else {
                c1[g] = vtrn1q_u32(vreinterpretq_u32_u64(p1.ab), vreinterpretq_u32_u64(p0.ab));
                c3[g] = vtrn1q_u32(vreinterpretq_u32_u64(p1.cd), vreinterpretq_u32_u64(p0.cd));
            }
        }
    }
    for (size_t g = 0; g < groups; g++) {
        const wide_lanes p0 = wide_product(WINIT_PHILOX_M0, c0[g]), p1 = wide_product(WINIT_PHILOX_M1, c2[g]);
        const size_t at = (layout == IN_ORDER ? 16 : 8) * g, half = layout == IN_ORDER ? 8 : 4;
        store_two(p0.ab, p1.ab, c1[g], last, layout, w + at, second + at);
        store_two(p0.cd, p1.cd, c3[g], last, layout, w + at + half, second + at + half);
    }
}
#elif defined(LANES)
#define VECTOR_BLOCKS LANES
typedef lanes word_lanes, wide_lanes;

WINIT_INLINE word_lanes spread_word(uint32_t x) { return spread(x); }

/* The interleave to element order works within 128-bit parts of a vector. Lanes hold their blocks in the order that
 * makes its two results consecutive memory: even lanes the first half of the blocks, odd lanes the second. */
WINIT_INLINE lanes lane_blocks(enum layout layout)
{
    lanes order;
    for (int l = 0; l < LANES; l++) {
        order[l] = (uint64_t)(layout == IN_ORDER ? (l & 1) * (LANES / 2) + (l >> 1) : l);
    }
    return order;
}

WINIT_INLINE wide_lanes first_products(enum layout layout, uint32_t first)
{
    return (lane_blocks(layout) + first) * spread(WINIT_PHILOX_M0);
}

typedef struct schedule { /* what the blocks of one piece share */
    lanes key0[WINIT_PHILOX_ROUNDS], key1[WINIT_PHILOX_ROUNDS];
    lanes mix_c0, mix_c2, mix_c3;
} schedule;

/* Each 32-bit word sits in a 64-bit lane through the rounds: the widening product reads low halves alone, so nothing is
 * masked. `product` is M0 times the low counter words. */
WINIT_INLINE void rounds(const schedule *s, lanes *product, size_t groups, enum layout layout, uint32_t *w,
                         uint32_t *second)
{
    const lanes m0 = spread(WINIT_PHILOX_M0), m1 = spread(WINIT_PHILOX_M1);
    lanes c0[4], c1[4], c2[4], c3[4];
    for (size_t g = 0; g < groups; g++) {
        c3[g] = *product;
        c2[g] = (*product >> 32) ^ s->key1[0];
        *product += spread((uint64_t)WINIT_PHILOX_M0 * LANES);
    }
    for (size_t g = 0; g < groups; g++) {
        c1[g] = mul32(m1, c2[g]);
        c0[g] = (c1[g] >> 32) ^ s->mix_c0;
        c2[g] = c3[g] ^ s->mix_c2;
    }
    for (size_t g = 0; g < groups; g++) {
        const lanes p0 = mul32(m0, c0[g]), p1 = mul32(m1, c2[g]);
        c0[g] = (p1 >> 32) ^ c1[g] ^ s->key0[2];
        c2[g] = (p0 >> 32) ^ s->mix_c3;
        c1[g] = p1;
        c3[g] = p0;
    }
#pragma GCC unroll 7
    for (int r = 3; r < WINIT_PHILOX_ROUNDS; r++) {
        for (size_t g = 0; g < groups; g++) {
            const lanes p0 = mul32(m0, c0[g]), p1 = mul32(m1, c2[g]);
            c0[g] = (p1 >> 32) ^ c1[g] ^ s->key0[r];
            c2[g] = (p0 >> 32) ^ c3[g] ^ s->key1[r];
            c1[g] = p1;
            c3[g] = p0;
        }
    }
    for (size_t g = 0; g < groups; g++) {
        if (layout == IN_ORDER) {
            store_in_order(w + 4 * LANES * g, pair32(c0[g], c1[g]), pair32(c2[g], c3[g]));
        } else {
            const lanes first = layout == PLANES_32 ? pair32(c0[g], c2[g]) : pair32(c0[g], c1[g]);
            const lanes other = layout == PLANES_32 ? pair32(c1[g], c3[g]) : pair32(c2[g], c3[g]);
            memcpy(w + 2 * LANES * g, &first, sizeof first);
            memcpy(second + 2 * LANES * g, &other, sizeof other);
        }
    }
}
#endif

#ifdef LANES
/* Blocks [first, first + blocks) under one high counter word. One counter word runs, the others are the same for all
 * blocks: half of the products of rounds 1 and 2 are scalars, and the other product of round 1 grows by a constant. */
WINIT_INLINE void words_of_piece(winit_key key, uint32_t tag, uint32_t high, uint32_t first, size_t blocks,
                                 enum layout layout, uint32_t *w, uint32_t *second)
{
    schedule s;
    for (int r = 0; r < WINIT_PHILOX_ROUNDS; r++) {
        s.key0[r] = spread_word(key.k0 + (uint32_t)r * WINIT_PHILOX_W0);
        s.key1[r] = spread_word(key.k1 + (uint32_t)r * WINIT_PHILOX_W1);
    }
    const uint64_t p1 = (uint64_t)WINIT_PHILOX_M1 * tag;
    const uint64_t p0 = (uint64_t)WINIT_PHILOX_M0 * ((uint32_t)(p1 >> 32) ^ high ^ key.k0);
    s.mix_c0 = spread_word((uint32_t)p1 ^ (key.k0 + WINIT_PHILOX_W0));
    s.mix_c2 = spread_word((uint32_t)(p0 >> 32) ^ (key.k1 + WINIT_PHILOX_W1));
    s.mix_c3 = spread_word((uint32_t)p0 ^ (key.k1 + 2u * WINIT_PHILOX_W1));
    wide_lanes product = first_products(layout, first);

    const size_t step = (layout == IN_ORDER ? 4 : 2) * VECTOR_BLOCKS;
    size_t done = 0;
    for (; done + 3 * VECTOR_BLOCKS < blocks; done += 4 * VECTOR_BLOCKS) {
        rounds(&s, &product, 4, layout, w, second);
        w += 4 * step;
        second += 4 * step;
    }
    for (; done < blocks; done += VECTOR_BLOCKS) {
        rounds(&s, &product, 1, layout, w, second);
        w += step;
        second += step;
    }
}
#else
WINIT_INLINE void words_of_piece(winit_key key, uint32_t tag, uint32_t high, uint32_t first, size_t blocks,
                                 enum layout layout, uint32_t *w, uint32_t *second)
{
    for (size_t i = 0; i < blocks; i++) {
        const winit_block b = winit_block_at(key, tag, ((uint64_t)high << 32 | first) + i);
        if (layout == IN_ORDER) {
            memcpy(w + 4 * i, b.word, 16);
        } else {
            w[2 * i] = b.word[0];
            w[2 * i + 1] = b.word[layout == PLANES_32 ? 2 : 1];
            second[2 * i] = b.word[layout == PLANES_32 ? 1 : 2];
            second[2 * i + 1] = b.word[3];
        }
    }
}
#endif

/* Blocks [block, block + blocks) laid down at w (and second); writes up to SLACK words too many. */
WINIT_INLINE void words(winit_key key, uint32_t tag, uint64_t block, size_t blocks, enum layout layout, uint32_t *w,
                        uint32_t *second)
{
    while (blocks > 0) {
        const uint64_t room = 0x100000000u - (block & 0xFFFFFFFFu);
        const size_t piece = blocks < room ? blocks : (size_t)room;
        words_of_piece(key, tag, (uint32_t)(block >> 32), (uint32_t)block, piece, layout, w, second);
        block += piece;
        blocks -= piece;
        w += (layout == IN_ORDER ? 4 : 2) * piece;
        second += (layout == IN_ORDER ? 0 : 2) * piece;
    }
}

static void words_range(winit_key key, uint32_t tag, uint64_t lo, size_t count, uint32_t *dest)
{
    uint32_t w[CHUNK + SLACK];
    while (count > 0) {
        const size_t skip = lo & 3, part = count < CHUNK - skip ? count : CHUNK - skip;
        words(key, tag, lo >> 2, (skip + part + 3) / 4, IN_ORDER, w, w);
        memcpy(dest, w + skip, 4 * part);
        dest += part;
        lo += part;
        count -= part;
    }
}

/* ---- b) transforms: `count` words' worth of values, whole turns of a loop ---------------------------------------- */

/* A loop whose turns are long chains of operations leaves the processor waiting: its scheduler is full before it reaches
 * the next turn. Side by side in one turn, four chains fill each other's gaps: a fifth of the transform's time on every
 * instruction set (docs/design.md). Clang has a pragma for that. GCC takes as many elements a turn as a vector holds of
 * the loop's narrowest numbers, and writes each operation for all of them before the next one; so there a wide loop
 * carries a number of no meaning along, a byte beside float32 and 16 bits beside float64. */
#if defined(__clang__)
#define WIDE_LOOP _Pragma("clang loop interleave_count(4)")
#define CARRIED(number, from) (void)wide
#define CARRY(j) (void)0
#define CARRIED_OVER (void)0
#elif defined(__GNUC__)
#define WIDE_LOOP
#define CARRIED(number, from)                                                                                          \
    const number *idle = (const number *)(const void *)(from);                                                         \
    number carried[PART + SLACK]
#define CARRY(j)                                                                                                       \
    if (wide) carried[j] = idle[j] ^ 1u
#define CARRIED_OVER                                                                                                   \
    if (wide) __asm__ volatile("" : : "r"(carried) : "memory")
#else
#define WIDE_LOOP
#define CARRIED(number, from) (void)wide
#define CARRY(j) (void)0
#define CARRIED_OVER (void)0
#endif

/* `count` made whole turns. A few values are made by loops that are not wide, where there are such. */
WINIT_INLINE size_t padded(size_t count)
{
    return count <= FEW ? (count + 31) & ~(size_t)31 : (count + TURN - 1) & ~(size_t)(TURN - 1);
}

#define WIDE_OR_NOT(law, dtype, real)                                                                                  \
    WINIT_INLINE void law##_##dtype(const uint32_t *restrict w, const uint32_t *restrict other, real *restrict v,      \
                                    size_t count, const double *p)                                                     \
    {                                                                                                                  \
        if (count > FEW) {                                                                                             \
            law##_loops_##dtype(w, other, v, count, p, 1);                                                             \
        } else {                                                                                                       \
            law##_loops_##dtype(w, other, v, count, p, 0);                                                             \
        }                                                                                                              \
    }

WINIT_INLINE void uniform_f32(const uint32_t *restrict w, const uint32_t *restrict unused, float *restrict v,
                              size_t count, const double *p)
{
    const float low = (float)p[0], span = (float)p[1], cap = (float)p[2];
    (void)unused;
    for (size_t j = 0; j < count; j++) v[j] = winit_uniform_f32(w[j], low, span, cap);
}

WINIT_INLINE void normal_loops_f32(const uint32_t *restrict a, const uint32_t *restrict b, float *restrict v,
                                   size_t count, const double *p, int wide)
{
    const float mean = (float)p[0], std = (float)p[1];
    float square[PART / 2 + SLACK];
    CARRIED(uint8_t, a);
    WIDE_LOOP
    for (size_t j = 0; j < count / 2; j++) {
        square[j] = winit_neg2log_word_f32(a[j]);
        CARRY(j);
    }
    WIDE_LOOP
    for (size_t j = 0; j < count / 2; j++) {
        float z0, z1;
        winit_normal_of_square_f32(square[j], b[j], &z0, &z1);
        v[2 * j] = mean + std * z0;
        v[2 * j + 1] = mean + std * z1;
        CARRY(j);
    }
    CARRIED_OVER;
}

WIDE_OR_NOT(normal, f32, float)

WINIT_INLINE void truncated_part_f32(const uint32_t *restrict w, float *restrict v, size_t count, const double *p,
                                     int far, int wide)
{
    const float mean = (float)p[0], std = (float)p[1], low = (float)p[2], high = (float)p[3];
    const float below = (float)p[4], above = (float)p[5], step = (float)p[6];
    const uint32_t threshold = (uint32_t)p[7];
    float root[PART + SLACK];
    CARRIED(uint8_t, w);
    WIDE_LOOP
    for (size_t j = 0; j < count; j++) {
        root[j] = winit_truncated_root_f32(w[j] >> 8, below, above, step, threshold, far);
        CARRY(j);
    }
    WIDE_LOOP
    for (size_t j = 0; j < count; j++) {
        v[j] = mean + std * winit_truncated_of_root_f32(root[j], w[j] >> 8, low, high, threshold, far);
        CARRY(j);
    }
    CARRIED_OVER;
}

WINIT_INLINE void truncated_loops_f32(const uint32_t *restrict w, const uint32_t *restrict unused, float *restrict v,
                                      size_t count, const double *p, int wide)
{
    (void)unused;
    if (p[8] != 0.0) {
        truncated_part_f32(w, v, count, p, 1, wide);
    } else {
        truncated_part_f32(w, v, count, p, 0, wide);
    }
}

WIDE_OR_NOT(truncated, f32, float)

WINIT_INLINE uint64_t k53_of(const uint32_t *w, size_t j)
{
    uint64_t both;
    memcpy(&both, w + 2 * j, sizeof both);
    return both >> 11;
}

WINIT_INLINE void uniform_f64(const uint32_t *restrict w, const uint32_t *restrict unused, double *restrict v,
                              size_t count, const double *p)
{
    const double low = p[0], span = p[1], cap = p[2];
    (void)unused;
    for (size_t j = 0; j < count; j++) v[j] = winit_uniform_f64(k53_of(w, j), low, span, cap);
}

WINIT_INLINE void normal_loops_f64(const uint32_t *restrict a, const uint32_t *restrict b, double *restrict v,
                                   size_t count, const double *p, int wide)
{
    const double mean = p[0], std = p[1];
    double square[PART / 2 + SLACK];
    CARRIED(uint16_t, a);
    WIDE_LOOP
    for (size_t j = 0; j < count / 2; j++) {
        square[j] = winit_neg2log_k53_f64(k53_of(a, j));
        CARRY(j);
    }
    WIDE_LOOP
    for (size_t j = 0; j < count / 2; j++) {
        double z0, z1;
        winit_normal_of_square_f64(square[j], k53_of(b, j), &z0, &z1);
        v[2 * j] = mean + std * z0;
        v[2 * j + 1] = mean + std * z1;
        CARRY(j);
    }
    CARRIED_OVER;
}

WIDE_OR_NOT(normal, f64, double)

WINIT_INLINE void truncated_part_f64(const uint32_t *restrict w, double *restrict v, size_t count, const double *p,
                                     int far, int wide)
{
    const double mean = p[0], std = p[1], low = p[2], high = p[3], below = p[4], above = p[5], step = p[6];
    const uint64_t threshold = (uint64_t)p[7];
    double root[PART + SLACK];
    CARRIED(uint16_t, w);
    WIDE_LOOP
    for (size_t j = 0; j < count; j++) {
        root[j] = winit_truncated_root_f64(k53_of(w, j), below, above, step, threshold);
        CARRY(j);
    }
    WIDE_LOOP
    for (size_t j = 0; j < count; j++) {
        v[j] = mean + std * winit_truncated_of_root_f64(root[j], k53_of(w, j), low, high, threshold, far);
        CARRY(j);
    }
    CARRIED_OVER;
}

WINIT_INLINE void truncated_loops_f64(const uint32_t *restrict w, const uint32_t *restrict unused, double *restrict v,
                                      size_t count, const double *p, int wide)
{
    (void)unused;
    if (p[8] != 0.0) {
        truncated_part_f64(w, v, count, p, 1, wide);
    } else {
        truncated_part_f64(w, v, count, p, 0, wide);
    }
}

WIDE_OR_NOT(truncated, f64, double)

/* ---- c) emit ---------------------------------------------------------------------------------------------------- */

WINIT_INLINE void stream(char *dest, const char *from, size_t bytes)
{
#if defined(LANES) && !defined(WINIT_NEON) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    size_t i = 0; /* sanitizers do not see these stores */
    for (; i < bytes && ((uintptr_t)(dest + i) & (sizeof(lanes) - 1)) != 0; i++) dest[i] = from[i];
    for (; i + sizeof(lanes) <= bytes; i += sizeof(lanes)) {
#if defined(WINIT_AVX512)
        _mm512_stream_si512((__m512i *)(dest + i), _mm512_loadu_si512(from + i));
#elif defined(WINIT_AVX2)
        _mm256_stream_si256((__m256i *)(dest + i), _mm256_loadu_si256((const __m256i *)(from + i)));
#else
        _mm_stream_si128((__m128i *)(dest + i), _mm_loadu_si128((const __m128i *)(from + i)));
#endif
    }
    memcpy(dest + i, from + i, bytes - i);
#else
    memcpy(dest, from, bytes);
#endif
}

WINIT_INLINE void scatter(char *dest, ptrdiff_t stride, const char *from, size_t count, size_t size,
                          enum winit_mode mode)
{
    if (mode == WINIT_STREAM) {
        stream(dest, from, count * size);
    } else if (stride == (ptrdiff_t)size) {
        memcpy(dest, from, count * size);
    } else {
        for (size_t j = 0; j < count; j++) memcpy(dest + (ptrdiff_t)j * stride, from + j * size, size);
    }
}

WINIT_INLINE void gather(char *to, const char *source, ptrdiff_t stride, size_t count, size_t size)
{
    if (stride == (ptrdiff_t)size) {
        memcpy(to, source, count * size);
    } else {
        for (size_t j = 0; j < count; j++) memcpy(to + j * size, source + (ptrdiff_t)j * stride, size);
    }
}

WINIT_INLINE void emit_f64(const double *v, size_t count, char *dest, ptrdiff_t stride, enum winit_mode mode,
                           double scale)
{
    if (mode == WINIT_ADD) {
        double sum[PART + SLACK];
        gather((char *)sum, dest, stride, count, sizeof *sum);
        for (size_t j = 0; j < count; j++) sum[j] = sum[j] + scale * v[j];
        scatter(dest, stride, (const char *)sum, count, sizeof *sum, WINIT_STORE);
    } else {
        scatter(dest, stride, (const char *)v, count, sizeof *v, mode);
    }
}

WINIT_INLINE void emit_f32(const float *v, size_t count, char *dest, ptrdiff_t stride, enum winit_mode mode,
                           double scale)
{
    if (mode == WINIT_ADD) {
        float sum[PART + SLACK];
        gather((char *)sum, dest, stride, count, sizeof *sum);
        for (size_t j = 0; j < count; j++) sum[j] = sum[j] + (float)scale * v[j];
        scatter(dest, stride, (const char *)sum, count, sizeof *sum, WINIT_STORE);
    } else {
        scatter(dest, stride, (const char *)v, count, sizeof *v, mode);
    }
}

/* Types that are computed in float32 and rounded once: words of 16 bits, and of 8. */
#define EMIT_ROUNDED(dtype, word)                                                                                      \
    WINIT_INLINE void emit_##dtype(const float *v, size_t count, char *dest, ptrdiff_t stride, enum winit_mode mode,   \
                                   double scale)                                                                       \
    {                                                                                                                  \
        word h[PART + SLACK];                                                                                          \
        if (mode == WINIT_ADD) {                                                                                       \
            gather((char *)h, dest, stride, count, sizeof *h);                                                         \
            for (size_t j = 0; j < count; j++) {                                                                       \
                h[j] = winit_round_##dtype(winit_widen_##dtype(h[j]) + (float)scale * v[j]);                           \
            }                                                                                                          \
            scatter(dest, stride, (const char *)h, count, sizeof *h, WINIT_STORE);                                     \
        } else {                                                                                                       \
            for (size_t j = 0; j < count; j++) h[j] = winit_round_finite_##dtype(v[j]);                                \
            scatter(dest, stride, (const char *)h, count, sizeof *h, mode);                                            \
        }                                                                                                              \
    }

EMIT_ROUNDED(f16, uint16_t)
EMIT_ROUNDED(bf16, uint16_t)
EMIT_ROUNDED(f8e4m3, uint8_t)
EMIT_ROUNDED(f8e5m2, uint8_t)

/* ---- d) fill ---------------------------------------------------------------------------------------------------- */

#if defined(__SSE2__)
#define STREAM_FENCE() _mm_sfence()
#else
#define STREAM_FENCE() ((void)0)
#endif

/* Elements of the next chunk: as many as `room` holds, and when streaming such that the one after starts a line. */
WINIT_INLINE size_t chunk_count(uint64_t left, size_t room, const char *dest, size_t size, enum winit_mode mode)
{
    size_t count = left < room ? (size_t)left : room;
    if (mode == WINIT_STREAM && left > room) count -= ((uintptr_t)dest / size + count) % (64 / size);
    return count;
}

/* Transforms run over whole turns: what they read past the words of a chunk is 0. All of w at once would be 9 KB a run, a
 * third of the time of a run of five. */
WINIT_INLINE void clear_past(uint32_t *w, size_t count, size_t slack) { memset(w + count, 0, 4 * slack); }

typedef void transform_f32(const uint32_t *restrict, const uint32_t *restrict, float *restrict, size_t,
                           const double *);
typedef void transform_f64(const uint32_t *restrict, const uint32_t *restrict, double *restrict, size_t,
                           const double *);
typedef void emit32(const float *, size_t, char *, ptrdiff_t, enum winit_mode, double);

/* A chunk is transformed and emitted PART values at a time: stores past the cache then leave while the next values are
 * computed, where emitting a whole chunk at once made the processor wait for them (10 of 90 cycles per 32 normals). */
#define FILL_LOOP(real, per_block, transform, emit)                                                                    \
    uint32_t w[CHUNK + 2 * SLACK];                                                                                     \
    real v[PART + SLACK];                                                                                              \
    const uint32_t *second = w + CHUNK / 2 + SLACK;                                                                    \
    const size_t room = CHUNK * per_block / 4;                                                                         \
    const int straight = size == sizeof(real) && stride == (ptrdiff_t)size && mode == WINIT_STORE &&                   \
                         (uintptr_t)dest % sizeof(real) == 0;                                                          \
    while (lo < hi) {                                                                                                  \
        size_t skip = lo % per_block;                                                                                  \
        size_t count = chunk_count(hi - lo, room - skip, dest, size, mode);                                            \
        const size_t blocks = (skip + count + per_block - 1) / per_block;                                              \
        clear_past(w, blocks * (layout == IN_ORDER ? 4 : 2), layout == IN_ORDER ? SLACK * 4 / per_block : SLACK);      \
        if (layout != IN_ORDER) clear_past(w + CHUNK / 2 + SLACK, blocks * 2, SLACK);                                  \
        words(key, WINIT_TAG_VALUES, lo / per_block, blocks, layout, w, w + CHUNK / 2 + SLACK);                        \
        lo += count;                                                                                                   \
        const uint32_t *from = w, *other = second;                                                                     \
        while (count > 0) {                                                                                            \
            const size_t part = count < PART - skip ? count : PART - skip;                                             \
            real *const to = straight && skip == 0 && part == PART ? (real *)(void *)dest : v;                         \
            transform(from, other, to, padded(part + skip), params);                                                   \
            if (to == v) emit(v + skip, part, dest, stride, mode, scale);                                              \
            dest += (ptrdiff_t)part * stride;                                                                          \
            from += (layout == IN_ORDER ? 4 : 2) * PART / per_block;                                                   \
            other += (layout == IN_ORDER ? 0 : 2) * PART / per_block;                                                  \
            count -= part;                                                                                             \
            skip = 0;                                                                                                  \
        }                                                                                                              \
    }                                                                                                                  \
    if (mode == WINIT_STREAM) STREAM_FENCE();

WINIT_INLINE void fill_32(winit_key key, uint64_t lo, uint64_t hi, char *dest, ptrdiff_t stride, const double *params,
                          enum winit_mode mode, double scale, enum layout layout, transform_f32 transform, emit32 emit,
                          size_t size)
{
    FILL_LOOP(float, 4, transform, emit)
}

WINIT_INLINE void fill_64(winit_key key, uint64_t lo, uint64_t hi, char *dest, ptrdiff_t stride, const double *params,
                          enum winit_mode mode, double scale, enum layout layout, transform_f64 transform)
{
    const size_t size = sizeof(double);
    FILL_LOOP(double, 2, transform, emit_f64)
}

#define FILL_ARGUMENTS                                                                                                 \
    winit_key key, uint64_t lo, uint64_t hi, char *dest, ptrdiff_t stride, const double *params, enum winit_mode mode, \
        double scale
#define FILL_VALUES key, lo, hi, dest, stride, params, mode, scale
/* The kernel of a table: the work, not inlined, between setting the floating-point mode and putting it back. */
#define KERNEL(law, dtype)                                                                                             \
    static void fill_##law##_##dtype(FILL_ARGUMENTS)                                                                   \
    {                                                                                                                  \
        const winit_float_mode saved = winit_default_float_mode();                                                     \
        work_##law##_##dtype(FILL_VALUES);                                                                             \
        winit_restore_float_mode(saved);                                                                               \
    }
#define FILL_32(law, layout, dtype, size)                                                                              \
    WINIT_NOINLINE void work_##law##_##dtype(FILL_ARGUMENTS)                                                           \
    {                                                                                                                  \
        fill_32(FILL_VALUES, layout, law##_f32, emit_##dtype, size);                                                   \
    }                                                                                                                  \
    KERNEL(law, dtype)
#define FILL_64(law, layout)                                                                                           \
    WINIT_NOINLINE void work_##law##_f64(FILL_ARGUMENTS) { fill_64(FILL_VALUES, layout, law##_f64); }                  \
    KERNEL(law, f64)
WINIT_INLINE void constant_32(FILL_ARGUMENTS, emit32 emit, size_t size)
{
    float v[PART];
    (void)key;
    for (size_t j = 0; j < PART; j++) v[j] = (float)params[0];
    while (lo < hi) {
        const size_t count = chunk_count(hi - lo, PART, dest, size, mode);
        emit(v, count, dest, stride, mode, scale);
        dest += (ptrdiff_t)count * stride;
        lo += count;
    }
    if (mode == WINIT_STREAM) STREAM_FENCE();
}

WINIT_NOINLINE void work_constant_f32(FILL_ARGUMENTS) { constant_32(FILL_VALUES, emit_f32, 4); }
KERNEL(constant, f32)

WINIT_NOINLINE void work_constant_f16(FILL_ARGUMENTS) { constant_32(FILL_VALUES, emit_f16, 2); }
KERNEL(constant, f16)

WINIT_NOINLINE void work_constant_bf16(FILL_ARGUMENTS) { constant_32(FILL_VALUES, emit_bf16, 2); }
KERNEL(constant, bf16)

WINIT_NOINLINE void work_constant_f8e4m3(FILL_ARGUMENTS) { constant_32(FILL_VALUES, emit_f8e4m3, 1); }
KERNEL(constant, f8e4m3)

WINIT_NOINLINE void work_constant_f8e5m2(FILL_ARGUMENTS) { constant_32(FILL_VALUES, emit_f8e5m2, 1); }
KERNEL(constant, f8e5m2)

WINIT_NOINLINE void work_constant_f64(FILL_ARGUMENTS)
{
    double v[PART];
    (void)key;
    for (size_t j = 0; j < PART; j++) v[j] = params[0];
    while (lo < hi) {
        const size_t count = chunk_count(hi - lo, PART, dest, sizeof *v, mode);
        emit_f64(v, count, dest, stride, mode, scale);
        dest += (ptrdiff_t)count * stride;
        lo += count;
    }
    if (mode == WINIT_STREAM) STREAM_FENCE();
}

KERNEL(constant, f64)

FILL_32(uniform, IN_ORDER, f32, 4)
FILL_32(uniform, IN_ORDER, f16, 2)
FILL_32(uniform, IN_ORDER, bf16, 2)
FILL_32(uniform, IN_ORDER, f8e4m3, 1)
FILL_32(uniform, IN_ORDER, f8e5m2, 1)
FILL_64(uniform, IN_ORDER)
FILL_32(normal, PLANES_32, f32, 4)
FILL_32(normal, PLANES_32, f16, 2)
FILL_32(normal, PLANES_32, bf16, 2)
FILL_32(normal, PLANES_32, f8e4m3, 1)
FILL_32(normal, PLANES_32, f8e5m2, 1)
FILL_64(normal, PLANES_64)
FILL_32(truncated, IN_ORDER, f32, 4)
FILL_32(truncated, IN_ORDER, f16, 2)
FILL_32(truncated, IN_ORDER, bf16, 2)
FILL_32(truncated, IN_ORDER, f8e4m3, 1)
FILL_32(truncated, IN_ORDER, f8e5m2, 1)
FILL_64(truncated, IN_ORDER)

#include "scattered.h"

static const winit_table table = {
    WINIT_ISA_NAME,
    {{fill_constant_f32, fill_constant_f64, fill_constant_f16, fill_constant_bf16, fill_constant_f8e4m3,
      fill_constant_f8e5m2},
     {fill_uniform_f32, fill_uniform_f64, fill_uniform_f16, fill_uniform_bf16, fill_uniform_f8e4m3,
      fill_uniform_f8e5m2},
     {fill_normal_f32, fill_normal_f64, fill_normal_f16, fill_normal_bf16, fill_normal_f8e4m3, fill_normal_f8e5m2},
     {fill_truncated_f32, fill_truncated_f64, fill_truncated_f16, fill_truncated_bf16, fill_truncated_f8e4m3,
      fill_truncated_f8e5m2}},
    words_range,
    normals_at,
};
