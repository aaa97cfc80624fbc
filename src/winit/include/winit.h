/* winit for C and C++: elements of a stream and plain loops over ranges of it, the bits of winit.draw. C99 and C++17,
 * header only, no state, no allocation, no libm but sqrt, no Python.
 *
 *     #include <winit.h>                 -I$(python -c "import winit; print(winit.get_include())") -ffp-contract=off
 *
 *     if (winit_check() != 0) abort();                        // once: does this compiler keep the arithmetic?
 *     const winit_key key = winit_key_of(seed, "fc1.weight", strlen("fc1.weight"));
 *     winit_fill_normal(key, 0, n, weights, 0.0, 0.02);       // == winit.draw(winit.normal(0, 0.02), n, ...)
 *     float z = winit_normal_at(key, i);                      // element i alone
 *
 * a) keys      winit_key_of                                           (winit/key.h)
 * b) words     winit_word_at, winit_block_at                          (winit/philox.h)
 * c) points    winit_normal_pair_f32, ...: words to values            (winit/approx.h)
 * d) elements  winit_{uniform,normal,truncated_normal}_at, and ..64_at for float64: one element of a standard law
 * e) fills     winit_fill_*: elements [lo, hi) of a law, written to out[0], ..., out[hi - lo - 1]
 * f) check     winit_check
 *
 * A fill is a pure function of (key, lo, hi) and the law's numbers: [a, b) and [b, c) give what [a, c) gives. Nothing
 * is checked: that low < high, std >= 0, all are finite and no value leaves the range of the type (normal: |mean| +
 * 6.77 std, float64 8.66) is the caller's part, as it is winit.draw's in Python. Arithmetic is done in the caller's
 * floating-point mode; the stream is that of the default one, rounding to nearest, subnormals kept.
 *
 * Why -ffp-contract=off. Every product and sum of the stream is rounded on its own. Where the processor has a fused
 * multiply-add (aarch64; x86-64 under -march=native), GCC contracts a * b + c to it unless told otherwise by that flag
 * or by -std=c99 and its like, which C++ does not heed; clang contracts within an expression whatever the standard. The
 * preprocessor sees none of this, so winit_check looks at values. */
#ifndef WINIT_H
#define WINIT_H

#include <stdint.h>

#include "winit/approx.h"
#include "winit/key.h"
#include "winit/philox.h"

/* ---- cuts of the truncated normal ------------------------------------------------------------------------------- */

/* What a truncated normal needs to know of its cuts: for float32 (and narrower types) or for float64, each with its own
 * numbers. They are worked out in Python in 60 digits: the seven numbers of winit.stream.cut(low, high, dtype), in this
 * order. */
typedef struct winit_cut {
    double low, high;    /* in units of std */
    double below, above; /* Phi(low), Phi(-high) */
    double step;         /* (Phi(high) - Phi(low)) 2^-24, or 2^-53 */
    double threshold;    /* integers below it are counted from the left */
    double far;          /* 0 where the coefficients of the far tail are not needed */
} winit_cut;

/* Cuts at -2 and 2. */
static const winit_cut winit_cut_2_f32 = {-2.0, 2.0, 0x1.74BCF8p-6, 0x1.74BCF8p-6, 0x1.E8B43p-25, 0x1p23, 0.0};
static const winit_cut winit_cut_2_f64 = {
    -2.0, 2.0, 0x1.74BCF82C9D86p-6, 0x1.74BCF82C9D86p-6, 0x1.E8B4307D3627Ap-54, 0x1p52, 0.0};

/* ---- d) elements ------------------------------------------------------------------------------------------------ */

/* Of the standard laws, whose mean of 0 is added like any other: 0 + -0 is 0, and one pair in 2^26 would have a -0.
 * An element of another law is mean + std * z, the product rounded and then the sum. */

/* Element i of winit.uniform(0, 1), in [0, 1). */
static inline float winit_uniform_at(winit_key key, uint64_t i)
{
    return (float)(int32_t)(winit_word_at(key, WINIT_TAG_VALUES, i) >> 8) * 0x1p-24f;
}

/* The 53-bit integer of element i. */
static inline uint64_t winit_k53_at(winit_key key, uint64_t i)
{
    const winit_block b = winit_block_at(key, WINIT_TAG_VALUES, i >> 1);
    return (i & 1) != 0 ? winit_k53(b.word[2], b.word[3]) : winit_k53(b.word[0], b.word[1]);
}

static inline double winit_uniform64_at(winit_key key, uint64_t i)
{
    return winit_int53_f64(winit_k53_at(key, i)) * 0x1p-53;
}

/* Element i of winit.normal(0, 1). */
static inline float winit_normal_at(winit_key key, uint64_t i)
{
    const winit_block b = winit_block_at(key, WINIT_TAG_VALUES, i >> 2);
    float z0, z1;
    winit_normal_pair_f32(b.word[i & 2], b.word[(i & 2) + 1], &z0, &z1);
    return 0.0f + ((i & 1) != 0 ? z1 : z0);
}

static inline double winit_normal64_at(winit_key key, uint64_t i)
{
    const winit_block b = winit_block_at(key, WINIT_TAG_VALUES, i >> 1);
    double z0, z1;
    winit_normal_pair_f64(winit_k53(b.word[0], b.word[1]), winit_k53(b.word[2], b.word[3]), &z0, &z1);
    return 0.0 + ((i & 1) != 0 ? z1 : z0);
}

/* Word w under a cut, 53-bit integer k under a cut. */
static inline float winit_cut_point_f32(uint32_t w, const winit_cut *cut)
{
    return winit_truncated_f32(w >> 8, (float)cut->low, (float)cut->high, (float)cut->below, (float)cut->above,
                               (float)cut->step, (uint32_t)cut->threshold, cut->far != 0.0);
}

static inline double winit_cut_point_f64(uint64_t k, const winit_cut *cut)
{
    return winit_truncated_f64(k, cut->low, cut->high, cut->below, cut->above, cut->step, (uint64_t)cut->threshold,
                               cut->far != 0.0);
}

/* Element i of winit.truncated_normal(0, 1, low, high). */
static inline float winit_truncated_normal_at(winit_key key, uint64_t i, const winit_cut *cut)
{
    return 0.0f + winit_cut_point_f32(winit_word_at(key, WINIT_TAG_VALUES, i), cut);
}

static inline double winit_truncated_normal64_at(winit_key key, uint64_t i, const winit_cut *cut)
{
    return 0.0 + winit_cut_point_f64(winit_k53_at(key, i), cut);
}

/* ---- e) fills --------------------------------------------------------------------------------------------------- */

/* The values of one block of the stream: four of float32, two of float64. A loop over blocks, straight lines of
 * arithmetic each, is what compilers vectorise (GCC 12 does all but the half types); one with loops inside is not. */
static inline void winit_block_uniform(winit_key key, uint64_t block, float low, float span, float cap, float *to)
{
    const winit_block b = winit_block_at(key, WINIT_TAG_VALUES, block);
    to[0] = winit_uniform_f32(b.word[0], low, span, cap);
    to[1] = winit_uniform_f32(b.word[1], low, span, cap);
    to[2] = winit_uniform_f32(b.word[2], low, span, cap);
    to[3] = winit_uniform_f32(b.word[3], low, span, cap);
}

static inline void winit_block_uniform64(winit_key key, uint64_t block, double low, double span, double cap, double *to)
{
    const winit_block b = winit_block_at(key, WINIT_TAG_VALUES, block);
    to[0] = winit_uniform_f64(winit_k53(b.word[0], b.word[1]), low, span, cap);
    to[1] = winit_uniform_f64(winit_k53(b.word[2], b.word[3]), low, span, cap);
}

static inline void winit_block_normal(winit_key key, uint64_t block, float mean, float std, float *to)
{
    const winit_block b = winit_block_at(key, WINIT_TAG_VALUES, block);
    float z0, z1, z2, z3;
    winit_normal_pair_f32(b.word[0], b.word[1], &z0, &z1);
    winit_normal_pair_f32(b.word[2], b.word[3], &z2, &z3);
    to[0] = mean + std * z0;
    to[1] = mean + std * z1;
    to[2] = mean + std * z2;
    to[3] = mean + std * z3;
}

static inline void winit_block_normal64(winit_key key, uint64_t block, double mean, double std, double *to)
{
    const winit_block b = winit_block_at(key, WINIT_TAG_VALUES, block);
    double z0, z1;
    winit_normal_pair_f64(winit_k53(b.word[0], b.word[1]), winit_k53(b.word[2], b.word[3]), &z0, &z1);
    to[0] = mean + std * z0;
    to[1] = mean + std * z1;
}

static inline void winit_block_normal_f16(winit_key key, uint64_t block, float mean, float std, uint16_t *to)
{
    float v[4];
    winit_block_normal(key, block, mean, std, v);
    to[0] = winit_round_finite_f16(v[0]);
    to[1] = winit_round_finite_f16(v[1]);
    to[2] = winit_round_finite_f16(v[2]);
    to[3] = winit_round_finite_f16(v[3]);
}

static inline void winit_block_normal_bf16(winit_key key, uint64_t block, float mean, float std, uint16_t *to)
{
    float v[4];
    winit_block_normal(key, block, mean, std, v);
    to[0] = winit_round_finite_bf16(v[0]);
    to[1] = winit_round_finite_bf16(v[1]);
    to[2] = winit_round_finite_bf16(v[2]);
    to[3] = winit_round_finite_bf16(v[3]);
}

static inline void winit_block_normal_f8e4m3(winit_key key, uint64_t block, float mean, float std, uint8_t *to)
{
    float v[4];
    winit_block_normal(key, block, mean, std, v);
    to[0] = winit_round_finite_f8e4m3(v[0]);
    to[1] = winit_round_finite_f8e4m3(v[1]);
    to[2] = winit_round_finite_f8e4m3(v[2]);
    to[3] = winit_round_finite_f8e4m3(v[3]);
}

static inline void winit_block_normal_f8e5m2(winit_key key, uint64_t block, float mean, float std, uint8_t *to)
{
    float v[4];
    winit_block_normal(key, block, mean, std, v);
    to[0] = winit_round_finite_f8e5m2(v[0]);
    to[1] = winit_round_finite_f8e5m2(v[1]);
    to[2] = winit_round_finite_f8e5m2(v[2]);
    to[3] = winit_round_finite_f8e5m2(v[3]);
}

static inline void winit_block_truncated(winit_key key, uint64_t block, winit_cut cut, float mean, float std, float *to)
{
    const winit_block b = winit_block_at(key, WINIT_TAG_VALUES, block);
    to[0] = mean + std * winit_cut_point_f32(b.word[0], &cut);
    to[1] = mean + std * winit_cut_point_f32(b.word[1], &cut);
    to[2] = mean + std * winit_cut_point_f32(b.word[2], &cut);
    to[3] = mean + std * winit_cut_point_f32(b.word[3], &cut);
}

static inline void winit_block_truncated64(winit_key key, uint64_t block, winit_cut cut, double mean, double std,
                                           double *to)
{
    const winit_block b = winit_block_at(key, WINIT_TAG_VALUES, block);
    to[0] = mean + std * winit_cut_point_f64(winit_k53(b.word[0], b.word[1]), &cut);
    to[1] = mean + std * winit_cut_point_f64(winit_k53(b.word[2], b.word[3]), &cut);
}

/* Elements [lo, hi) into out: `values` makes those of `block`, `per` of them, at `to`. Whole blocks go straight to out,
 * what sticks out of the first and the last through `part`. */
#define WINIT_FILL(type, per, values)                                                                                  \
    type part[per];                                                                                                    \
    if (lo < hi && lo % (per) != 0) {                                                                                  \
        const uint64_t block = lo / (per);                                                                             \
        type *const to = part;                                                                                         \
        values;                                                                                                        \
        for (; lo < hi && lo % (per) != 0; lo++) *out++ = part[lo % (per)];                                            \
    }                                                                                                                  \
    if (lo < hi) {                                                                                                     \
        const uint64_t first = lo / (per), blocks = hi / (per) - first;                                                \
        for (uint64_t i = 0; i < blocks; i++) {                                                                        \
            const uint64_t block = first + i;                                                                          \
            type *const to = out + (per) * i;                                                                          \
            values;                                                                                                    \
        }                                                                                                              \
        out += (per) * blocks;                                                                                         \
        if (hi % (per) != 0) {                                                                                         \
            const uint64_t block = hi / (per);                                                                         \
            type *const to = part;                                                                                     \
            values;                                                                                                    \
            for (uint64_t i = 0; i < hi % (per); i++) out[i] = part[i];                                                \
        }                                                                                                              \
    }

/* The largest number below high: the law's numbers as winit._core.laws.Uniform makes them. */
static inline float winit_next_below_f32(float high)
{
    const uint32_t u = winit_bits_f32(high);
    return high > 0.0f ? winit_float_f32(u - 1u) : high < 0.0f ? winit_float_f32(u + 1u) : -0x1p-149f;
}

static inline double winit_next_below_f64(double high)
{
    const uint64_t u = winit_bits_f64(high);
    return high > 0.0 ? winit_float_f64(u - 1u) : high < 0.0 ? winit_float_f64(u + 1u) : -0x1p-1074;
}

/* Elements lo..hi of winit.uniform(low, high). As in Python, the numbers of a law are float64, rounded once to the
 * arithmetic type. */
static inline void winit_fill_uniform(winit_key key, /* IN */
                                      uint64_t lo,   /* IN  elements */
                                      uint64_t hi,   /* IN  elements */
                                      float *out,    /* OUT hi - lo of them */
                                      double low,    /* IN */
                                      double high)   /* IN */
{
    const float start = (float)low, end = (float)high;
    const float span = (float)((double)end - (double)start), cap = winit_next_below_f32(end);
    WINIT_FILL(float, 4, winit_block_uniform(key, block, start, span, cap, to))
}

static inline void winit_fill_uniform64(winit_key key, uint64_t lo, uint64_t hi, double *out, double low, double high)
{
    const double span = high - low, cap = winit_next_below_f64(high);
    WINIT_FILL(double, 2, winit_block_uniform64(key, block, low, span, cap, to))
}

/* Elements lo..hi of winit.normal(mean, std). */
static inline void winit_fill_normal(winit_key key, uint64_t lo, uint64_t hi, float *out, double mean, double std)
{
    const float centre = (float)mean, width = (float)std;
    WINIT_FILL(float, 4, winit_block_normal(key, block, centre, width, to))
}

static inline void winit_fill_normal64(winit_key key, uint64_t lo, uint64_t hi, double *out, double mean, double std)
{
    WINIT_FILL(double, 2, winit_block_normal64(key, block, mean, std, to))
}

/* The same in float16 and bfloat16, as 16-bit words. */
static inline void winit_fill_normal_f16(winit_key key, uint64_t lo, uint64_t hi, uint16_t *out, double mean,
                                         double std)
{
    const float centre = (float)mean, width = (float)std;
    WINIT_FILL(uint16_t, 4, winit_block_normal_f16(key, block, centre, width, to))
}

static inline void winit_fill_normal_bf16(winit_key key, uint64_t lo, uint64_t hi, uint16_t *out, double mean,
                                          double std)
{
    const float centre = (float)mean, width = (float)std;
    WINIT_FILL(uint16_t, 4, winit_block_normal_bf16(key, block, centre, width, to))
}

/* The same in float8_e4m3fn and float8_e5m2, as bytes. */
static inline void winit_fill_normal_f8e4m3(winit_key key, uint64_t lo, uint64_t hi, uint8_t *out, double mean,
                                            double std)
{
    const float centre = (float)mean, width = (float)std;
    WINIT_FILL(uint8_t, 4, winit_block_normal_f8e4m3(key, block, centre, width, to))
}

static inline void winit_fill_normal_f8e5m2(winit_key key, uint64_t lo, uint64_t hi, uint8_t *out, double mean,
                                            double std)
{
    const float centre = (float)mean, width = (float)std;
    WINIT_FILL(uint8_t, 4, winit_block_normal_f8e5m2(key, block, centre, width, to))
}

/* Elements lo..hi of winit.truncated_normal(mean, std, low, high); the cut is that of the type. */
static inline void winit_fill_truncated_normal(winit_key key, uint64_t lo, uint64_t hi, float *out,
                                               const winit_cut *cut, double mean, double std)
{
    const winit_cut at = *cut; /* a copy: out cannot be where it is, as far as the compiler can tell */
    const float centre = (float)mean, width = (float)std;
    WINIT_FILL(float, 4, winit_block_truncated(key, block, at, centre, width, to))
}

static inline void winit_fill_truncated_normal64(winit_key key, uint64_t lo, uint64_t hi, double *out,
                                                 const winit_cut *cut, double mean, double std)
{
    const winit_cut at = *cut;
    WINIT_FILL(double, 2, winit_block_truncated64(key, block, at, mean, std, to))
}

#undef WINIT_FILL

/* ---- f) check --------------------------------------------------------------------------------------------------- */

enum { WINIT_CHECKED = 64 }; /* values of each fill */

static inline uint64_t winit_checksum_f32(uint64_t sum, const float *v) /* FNV-1a, a value at a time */
{
    for (int i = 0; i < WINIT_CHECKED; i++) sum = (sum ^ winit_bits_f32(v[i])) * 0x100000001B3u;
    return sum;
}

static inline uint64_t winit_checksum_f64(uint64_t sum, const double *v)
{
    for (int i = 0; i < WINIT_CHECKED; i++) sum = (sum ^ winit_bits_f64(v[i])) * 0x100000001B3u;
    return sum;
}

/* 0 where this translation unit, as it was compiled, and this thread keep the arithmetic of the stream. Else the sum of
 * 1: float32 values differ, 2: float64 values differ, 4: subnormal ones do (flushed to zero). Call it once, from each
 * source file that includes this header under flags of its own. The key is volatile, so that the values are computed by
 * the code that the compiler made and not by the compiler. */
static inline int winit_check(void)
{
    const uint64_t start = 0xCBF29CE484222325u, hi = 1 + WINIT_CHECKED;
    volatile uint32_t hidden[2] = {0xD5846071u, 0xFE620B30u}; /* seed 0, name "" */
    float f[WINIT_CHECKED];
    double d[WINIT_CHECKED];
    uint64_t sum;
    int wrong = 0;
    winit_key key;
    key.k0 = hidden[0];
    key.k1 = hidden[1];

    winit_fill_uniform(key, 1, hi, f, -0.1, 0.3);
    sum = winit_checksum_f32(start, f);
    winit_fill_normal(key, 1, hi, f, 0.5, 0.02);
    sum = winit_checksum_f32(sum, f);
    winit_fill_truncated_normal(key, 1, hi, f, &winit_cut_2_f32, 0.5, 0.02);
    sum = winit_checksum_f32(sum, f);
    if (sum != 0xD0D9CC7083D34A48u) wrong |= 1;

    winit_fill_uniform64(key, 1, hi, d, -0.1, 0.3);
    sum = winit_checksum_f64(start, d);
    winit_fill_normal64(key, 1, hi, d, 0.5, 0.02);
    sum = winit_checksum_f64(sum, d);
    winit_fill_truncated_normal64(key, 1, hi, d, &winit_cut_2_f64, 0.5, 0.02);
    sum = winit_checksum_f64(sum, d);
    if (sum != 0xBFB4DD5BB6B18238u) wrong |= 2;

    winit_fill_normal(key, 1, hi, f, 0.0, 1e-40);
    if (winit_checksum_f32(start, f) != 0x68B284C736EE3A25u) wrong |= 4;
    return wrong;
}

#endif
