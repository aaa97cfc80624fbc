/* The point functions of stream version 1: words in, one value out. C99 and C++, no libm but sqrt, no Python.
 *
 *   winit_neg2log_*     -2 ln u          winit_normal_pair_*   Box-Muller: two words (or 53-bit integers), two normals
 *   winit_sincos_*      of pi/2 y        winit_quantile_*      z with Phi(-z) = t, for t in (0, 1/2]
 *   winit_uniform_*  winit_truncated_*   winit_round_*         float32 to float16, bfloat16 and float8, nearest even
 *
 * Every function is a straight line of + - * / sqrt and integer operations, each rounded on its own: compile with
 * -ffp-contract=off and without -ffast-math, else the bits are not those of the stream. Branches are selections, so
 * that a compiler can vectorise a loop over any of them. Errors are stated in docs/streams.md and tested. */
#ifndef WINIT_APPROX_H
#define WINIT_APPROX_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "coefficients.h"

#ifdef __FAST_MATH__
#error "winit: -ffast-math changes the values of the stream; compile this file without it"
#endif
#if defined(FLT_EVAL_METHOD) && (FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2)
#error "winit: this compiler keeps float values in a wider type; on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif

static inline uint32_t winit_bits_f32(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
static inline float winit_float_f32(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }
static inline uint64_t winit_bits_f64(double x) { uint64_t u; memcpy(&u, &x, sizeof u); return u; }
static inline double winit_float_f64(uint64_t u) { double x; memcpy(&x, &u, sizeof x); return x; }

/* ---- float32 ---------------------------------------------------------------------------------------------------- */

static inline float winit_uniform_f32(uint32_t w, float low, float span, float cap)
{
    const float v = low + span * ((float)(int32_t)(w >> 8) * 0x1p-24f);
    return v < cap ? v : cap;
}

/* -2 ln((1 + f) 2^-e) for f in [-1/2, 0] and e >= 0. Both terms are positive, so nothing cancels. 2 ln 2 as one float
 * is off by 3e-9 of itself, which does not show beside the rounding of the product. Long polynomials are summed as
 * their even and odd powers: two chains of half the latency, 10 to 20% of a whole fill. */
static inline float winit_neg2log_parts_f32(float f, float e)
{
    const float f2 = f * f;
    float even = WINIT_LOG_F32_8, odd = WINIT_LOG_F32_7;
    even = even * f2 + WINIT_LOG_F32_6;
    odd = odd * f2 + WINIT_LOG_F32_5;
    even = even * f2 + WINIT_LOG_F32_4;
    odd = odd * f2 + WINIT_LOG_F32_3;
    even = even * f2 + WINIT_LOG_F32_2;
    odd = odd * f2 + WINIT_LOG_F32_1;
    even = even * f2 + WINIT_LOG_F32_0;
    return f * (even + odd * f) + e * WINIT_TWO_LN2_F32_0;
}

/* -2 ln((a + 1/2) 2^-32). In the upper half u - 1 is taken from the complement of the integer: u itself, rounded to
 * float32, has lost it. */
static inline float winit_neg2log_word_f32(uint32_t a)
{
    const uint32_t upper = 0u - (a >> 31);
    const float y = (float)(int32_t)(a ^ upper) + 0.5f;
    const uint32_t bits = winit_bits_f32(y);
    const float f_lower = winit_float_f32((bits & 0x007FFFFFu) | 0x3F000000u) - 1.0f;
    const float f_upper = winit_float_f32(bits + 0x70000000u); /* y * -2^-32: multipliers are what is short here */
    const float f = winit_float_f32((winit_bits_f32(f_upper) & upper) | (winit_bits_f32(f_lower) & ~upper));
    const int32_t e = (int32_t)((158u - (bits >> 23)) & ~upper);
    return winit_neg2log_parts_f32(f, (float)e);
}

/* sin and cos of pi/2 y, y in [-1, 1]. */
static inline void winit_sincos_f32(float y, float *sine, float *cosine)
{
    const float y2 = y * y;
    float s = WINIT_SIN_F32_4, c = WINIT_COS_F32_5;
    c = c * y2 + WINIT_COS_F32_4;
    s = s * y2 + WINIT_SIN_F32_3;
    s = s * y2 + WINIT_SIN_F32_2;
    s = s * y2 + WINIT_SIN_F32_1;
    s = s * y2 + WINIT_SIN_F32_0;
    c = c * y2 + WINIT_COS_F32_3;
    c = c * y2 + WINIT_COS_F32_2;
    c = c * y2 + WINIT_COS_F32_1;
    c = c * y2 + WINIT_COS_F32_0;
    *sine = y * s;
    *cosine = c;
}

/* z = (r cos t, r sin t), r = sqrt(-2 ln((a + 1/2) 2^-32)), t = 2 pi b 2^-32. The angle is reduced to a quarter turn
 * either way in integers, exactly; the half turn that this takes off is the sign of r. In two steps, of which the first
 * is winit_neg2log_word_f32(a): a loop over each step keeps more of it in flight than a loop over both. */
static inline void winit_normal_of_square_f32(float square, uint32_t b, float *z0, float *z1)
{
    const uint32_t sign = (b + 0x40000000u) & 0x80000000u;
    const float y = (float)(int32_t)(b << 1) * 0x1p-31f;
    const float r = winit_float_f32(winit_bits_f32(sqrtf(square)) ^ sign);
    float s, c;
    winit_sincos_f32(y, &s, &c);
    *z0 = r * c;
    *z1 = r * s;
}

static inline void winit_normal_pair_f32(uint32_t a, uint32_t b, float *z0, float *z1)
{
    winit_normal_of_square_f32(winit_neg2log_word_f32(a), b, z0, z1);
}

/* s = sqrt(-2 ln t), t in (0, 1/2] and at least 1e-40; `far` as below. */
static inline float winit_root_f32(float t, int far)
{
    const uint32_t tiny = 0u - (uint32_t)(t < 0x1p-126f); /* subnormal: scale, so that the exponent can be read */
    const float scaled = far ? winit_float_f32((winit_bits_f32(t * 0x1p32f) & tiny) | (winit_bits_f32(t) & ~tiny)) : t;
    const uint32_t bits = winit_bits_f32(scaled);
    const float f = winit_float_f32((bits & 0x007FFFFFu) | 0x3F000000u) - 1.0f;
    const int32_t e = 126 - (int32_t)(bits >> 23) + (far ? (int32_t)(tiny & 32u) : 0);
    return sqrtf(winit_neg2log_parts_f32(f, (float)e));
}

/* z >= 0 with Phi(-z) = exp(-s^2 / 2). With far = 0 the caller knows that s <= 3.7 (t >= 0.00107, z <= 3.07) and the
 * second set of coefficients is left out: the value is the same. */
static inline float winit_quantile_of_root_f32(float s, int far)
{
    const int beyond = far && s > WINIT_QUANTILE_SPLIT_F32_0;
#define WINIT_PICK(i) (beyond ? WINIT_QUANTILE1_F32_##i : WINIT_QUANTILE0_F32_##i)
    const float x = s - (beyond ? WINIT_QUANTILE_SHIFT_F32_1 : WINIT_QUANTILE_SHIFT_F32_0);
    const float x2 = x * x;
    float even = WINIT_PICK(10), odd = WINIT_PICK(9);
    even = even * x2 + WINIT_PICK(8);
    odd = odd * x2 + WINIT_PICK(7);
    even = even * x2 + WINIT_PICK(6);
    odd = odd * x2 + WINIT_PICK(5);
    even = even * x2 + WINIT_PICK(4);
    odd = odd * x2 + WINIT_PICK(3);
    even = even * x2 + WINIT_PICK(2);
    odd = odd * x2 + WINIT_PICK(1);
    even = even * x2 + WINIT_PICK(0);
#undef WINIT_PICK
    return even + odd * x;
}

/* The standard truncated normal of a 24-bit integer n, held to [low, high]. Below `threshold` the mass is counted from
 * the left end (below = Phi(low)), from there on from the right (above = Phi(-high)); step = (Phi(high) - Phi(low))
 * 2^-24. Either way t <= 1/2 and nothing cancels. In two steps, as the normal pair. */
static inline float winit_truncated_root_f32(uint32_t n, float below, float above, float step, uint32_t threshold,
                                             int far)
{
    const int left = n < threshold;
    const float m = (float)(int32_t)(left ? n : 0xFFFFFFu - n) + 0.5f;
    return winit_root_f32((left ? below : above) + m * step, far);
}

static inline float winit_truncated_of_root_f32(float s, uint32_t n, float low, float high, uint32_t threshold,
                                                int far)
{
    const float q = winit_quantile_of_root_f32(s, far);
    float z = n < threshold ? -q : q;
    z = z < low ? low : z;
    return z > high ? high : z;
}

static inline float winit_truncated_f32(uint32_t n, float low, float high, float below, float above, float step,
                                        uint32_t threshold, int far)
{
    const float s = winit_truncated_root_f32(n, below, above, step, threshold, far);
    return winit_truncated_of_root_f32(s, n, low, high, threshold, far);
}

/* ---- float64: k is a 53-bit integer ----------------------------------------------------------------------------- */

static inline uint64_t winit_k53(uint64_t first_word, uint64_t second_word)
{
    return (second_word << 32 | first_word) >> 11;
}

/* The conversions below write an integer under the exponent of 2^52 (or 2^84, for a high word) and take that power
 * away. They are exact, like a cast, and unlike it every instruction set has the operations in vector form. */
static inline double winit_int52_f64(uint64_t k) /* 0 <= k < 2^52 */
{
    return winit_float_f64(k | 0x4330000000000000u) - 0x1p52;
}

static inline double winit_int53_f64(uint64_t k) /* 0 <= k < 2^53 */
{
    const double high = winit_float_f64(k >> 32 | 0x4530000000000000u) - 0x1p84;
    return high + winit_int52_f64(k & 0xFFFFFFFFu);
}

static inline double winit_uniform_f64(uint64_t k, double low, double span, double cap)
{
    const double v = low + span * (winit_int53_f64(k) * 0x1p-53);
    return v < cap ? v : cap;
}

static inline double winit_neg2log_parts_f64(double f, double e)
{
    const double f2 = f * f;
    double even = WINIT_LOG_F64_18, odd = WINIT_LOG_F64_19;
    even = even * f2 + WINIT_LOG_F64_16;
    odd = odd * f2 + WINIT_LOG_F64_17;
    even = even * f2 + WINIT_LOG_F64_14;
    odd = odd * f2 + WINIT_LOG_F64_15;
    even = even * f2 + WINIT_LOG_F64_12;
    odd = odd * f2 + WINIT_LOG_F64_13;
    even = even * f2 + WINIT_LOG_F64_10;
    odd = odd * f2 + WINIT_LOG_F64_11;
    even = even * f2 + WINIT_LOG_F64_8;
    odd = odd * f2 + WINIT_LOG_F64_9;
    even = even * f2 + WINIT_LOG_F64_6;
    odd = odd * f2 + WINIT_LOG_F64_7;
    even = even * f2 + WINIT_LOG_F64_4;
    odd = odd * f2 + WINIT_LOG_F64_5;
    even = even * f2 + WINIT_LOG_F64_2;
    odd = odd * f2 + WINIT_LOG_F64_3;
    even = even * f2 + WINIT_LOG_F64_0;
    odd = odd * f2 + WINIT_LOG_F64_1;
    return e * WINIT_TWO_LN2_F64_0 + (f * (even + odd * f) + e * WINIT_TWO_LN2_F64_1);
}

/* -2 ln((k + 1/2) 2^-53) */
static inline double winit_neg2log_k53_f64(uint64_t k)
{
    const uint64_t upper = 0u - (k >> 52);
    const double y = winit_int52_f64((k ^ upper) & 0x000FFFFFFFFFFFFFu) + 0.5;
    const uint64_t bits = winit_bits_f64(y);
    const double f_lower = winit_float_f64((bits & 0x000FFFFFFFFFFFFFu) | 0x3FE0000000000000u) - 1.0;
    const double f_upper = winit_float_f64(bits + 0x7CB0000000000000u); /* y * -2^-53 */
    const double f = winit_float_f64((winit_bits_f64(f_upper) & upper) | (winit_bits_f64(f_lower) & ~upper));
    const uint64_t e = (1075u - (bits >> 52)) & ~upper;
    return winit_neg2log_parts_f64(f, winit_int52_f64(e));
}

static inline void winit_sincos_f64(double y, double *sine, double *cosine)
{
    const double y2 = y * y;
    double s = WINIT_SIN_F64_8, c = WINIT_COS_F64_9;
    s = s * y2 + WINIT_SIN_F64_7;
    s = s * y2 + WINIT_SIN_F64_6;
    s = s * y2 + WINIT_SIN_F64_5;
    s = s * y2 + WINIT_SIN_F64_4;
    s = s * y2 + WINIT_SIN_F64_3;
    s = s * y2 + WINIT_SIN_F64_2;
    s = s * y2 + WINIT_SIN_F64_1;
    s = s * y2 + WINIT_SIN_F64_0;
    c = c * y2 + WINIT_COS_F64_8;
    c = c * y2 + WINIT_COS_F64_7;
    c = c * y2 + WINIT_COS_F64_6;
    c = c * y2 + WINIT_COS_F64_5;
    c = c * y2 + WINIT_COS_F64_4;
    c = c * y2 + WINIT_COS_F64_3;
    c = c * y2 + WINIT_COS_F64_2;
    c = c * y2 + WINIT_COS_F64_1;
    c = c * y2 + WINIT_COS_F64_0;
    *sine = y * s;
    *cosine = c;
}

/* As winit_normal_of_square_f32; square = winit_neg2log_k53_f64(a), b another 53-bit integer. */
static inline void winit_normal_of_square_f64(double square, uint64_t b, double *z0, double *z1)
{
    const uint64_t sign = (b + 0x0008000000000000u) << 11 & 0x8000000000000000u;
    /* b modulo half a turn as a signed 52-bit integer: flip its top bit, then take the bias away */
    const uint64_t turned = (b & 0x000FFFFFFFFFFFFFu) ^ 0x0008000000000000u;
    const double y = (winit_float_f64(turned | 0x4330000000000000u) - 0x1.8p52) * 0x1p-51;
    const double r = winit_float_f64(winit_bits_f64(sqrt(square)) ^ sign);
    double s, c;
    winit_sincos_f64(y, &s, &c);
    *z0 = r * c;
    *z1 = r * s;
}

static inline void winit_normal_pair_f64(uint64_t a, uint64_t b, double *z0, double *z1)
{
    winit_normal_of_square_f64(winit_neg2log_k53_f64(a), b, z0, z1);
}

/* As winit_root_f32, t at least 1e-300. */
static inline double winit_root_f64(double t)
{
    const uint64_t bits = winit_bits_f64(t);
    const double f = winit_float_f64((bits & 0x000FFFFFFFFFFFFFu) | 0x3FE0000000000000u) - 1.0;
    return sqrt(winit_neg2log_parts_f64(f, winit_int52_f64(1022u - (bits >> 52))));
}

/* As winit_quantile_of_root_f32; with far = 0 the caller knows that s <= 4 (t >= 3.36e-4, z <= 3.4). */
static inline double winit_quantile_of_root_f64(double s, int far)
{
    const int second = far && s > WINIT_QUANTILE_SPLIT_F64_0, third = far && s > WINIT_QUANTILE_SPLIT_F64_1;
#define WINIT_PICK(part, i)                                                                                            \
    (third ? WINIT_QUANTILE2_##part##_F64_##i : second ? WINIT_QUANTILE1_##part##_F64_##i                              \
                                                       : WINIT_QUANTILE0_##part##_F64_##i)
    const double x = s - (third    ? WINIT_QUANTILE_SHIFT_F64_2
                          : second ? WINIT_QUANTILE_SHIFT_F64_1
                                   : WINIT_QUANTILE_SHIFT_F64_0);
    double top = WINIT_PICK(TOP, 8), bottom = WINIT_PICK(BOTTOM, 8);
    top = top * x + WINIT_PICK(TOP, 7);
    top = top * x + WINIT_PICK(TOP, 6);
    top = top * x + WINIT_PICK(TOP, 5);
    top = top * x + WINIT_PICK(TOP, 4);
    top = top * x + WINIT_PICK(TOP, 3);
    top = top * x + WINIT_PICK(TOP, 2);
    top = top * x + WINIT_PICK(TOP, 1);
    top = top * x + WINIT_PICK(TOP, 0);
    bottom = bottom * x + WINIT_PICK(BOTTOM, 7);
    bottom = bottom * x + WINIT_PICK(BOTTOM, 6);
    bottom = bottom * x + WINIT_PICK(BOTTOM, 5);
    bottom = bottom * x + WINIT_PICK(BOTTOM, 4);
    bottom = bottom * x + WINIT_PICK(BOTTOM, 3);
    bottom = bottom * x + WINIT_PICK(BOTTOM, 2);
    bottom = bottom * x + WINIT_PICK(BOTTOM, 1);
    bottom = bottom * x + WINIT_PICK(BOTTOM, 0);
#undef WINIT_PICK
    return top / bottom;
}

static inline double winit_truncated_root_f64(uint64_t k, double below, double above, double step, uint64_t threshold)
{
    const uint64_t left = 0u - ((k - threshold) >> 63);
    const double m = winit_int53_f64(k ^ (0x1FFFFFFFFFFFFFu & ~left)) + 0.5;
    const uint64_t mass = (winit_bits_f64(below) & left) | (winit_bits_f64(above) & ~left);
    return winit_root_f64(winit_float_f64(mass) + m * step);
}

static inline double winit_truncated_of_root_f64(double s, uint64_t k, double low, double high, uint64_t threshold,
                                                 int far)
{
    const double q = winit_quantile_of_root_f64(s, far);
    double z = winit_float_f64(winit_bits_f64(q) ^ ((k - threshold) & 0x8000000000000000u));
    z = z < low ? low : z;
    return z > high ? high : z;
}

static inline double winit_truncated_f64(uint64_t k, double low, double high, double below, double above, double step,
                                         uint64_t threshold, int far)
{
    const double s = winit_truncated_root_f64(k, below, above, step, threshold);
    return winit_truncated_of_root_f64(s, k, low, high, threshold, far);
}

/* ---- half types, as 16-bit words -------------------------------------------------------------------------------- */

/* The _finite forms are for values of laws, which stay inside the type's range; the others for sums with anything. */
static inline uint16_t winit_round_finite_bf16(float x)
{
    const uint32_t u = winit_bits_f32(x);
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

static inline uint16_t winit_round_bf16(float x)
{
    const uint32_t u = winit_bits_f32(x);
    return (uint16_t)((u & 0x7FFFFFFFu) > 0x7F800000u ? (u >> 16 | 0x40u) : winit_round_finite_bf16(x));
}

static inline float winit_widen_bf16(uint16_t h) { return winit_float_f32((uint32_t)h << 16); }

static inline uint16_t winit_round_finite_f16(float x)
{
    const uint32_t u = winit_bits_f32(x), sign = u >> 16 & 0x8000u, mag = u & 0x7FFFFFFFu;
    const uint32_t normal = ((mag + 0x0FFFu + (mag >> 13 & 1u)) >> 13) - (112u << 10);
    /* one unit in the last place of 1/2 is 2^-24, the spacing of float16's subnormals: the addition rounds */
    const uint32_t subnormal = winit_bits_f32(winit_float_f32(mag) + 0.5f) - 0x3F000000u;
    return (uint16_t)(sign | (mag < 0x38800000u ? subnormal : normal));
}

static inline uint16_t winit_round_f16(float x)
{
    const uint32_t u = winit_bits_f32(x), sign = u >> 16 & 0x8000u, mag = u & 0x7FFFFFFFu;
    uint32_t h = mag >= 0x477FF000u ? (sign | 0x7C00u) : winit_round_finite_f16(x);
    h = mag > 0x7F800000u ? (sign | 0x7E00u | (mag >> 13 & 0x3FFu)) : h;
    return (uint16_t)h;
}

static inline float winit_widen_f16(uint16_t h)
{
    const uint32_t mag = h & 0x7FFFu, sign = (uint32_t)(h & 0x8000u) << 16;
    const float subnormal = (float)(int32_t)mag * 0x1p-24f;
    const uint32_t normal = (mag << 13) + (112u << 23);
    uint32_t u = mag < 0x0400u ? winit_bits_f32(subnormal) : normal;
    u = mag >= 0x7C00u ? ((mag << 13) | 0x7F800000u) : u;
    return winit_float_f32(sign | u);
}

/* ---- float8 types, as 8-bit words ------------------------------------------------------------------------------- */

/* A sum with a power of two whose unit in the last place is the spacing of the type around |x| rounds, and leaves in
 * its low bits how many spacings |x| is; the spacing below the smallest normal number is that above it. What the words
 * of sum and power have in common is shifted out. The last operation is a shift for the compiler's sake: otherwise GCC
 * narrows each term to bytes before it adds them, which takes half as long again. NaN keeps its sign alone. */

/* float8_e4m3fn: 4 bits of exponent, 3 of fraction, no infinity, NaN 0x7F: what does not round to 448 or less is NaN */
static inline uint8_t winit_round_finite_f8e4m3(float x)
{
    const uint32_t u = winit_bits_f32(x), mag = u & 0x7FFFFFFFu;
    const uint32_t top = ((int32_t)mag > 0x3C800000 ? mag : 0x3C800000u) & 0x7F800000u; /* 2^-6 at least */
    const uint32_t sum = winit_bits_f32(winit_float_f32(mag) + winit_float_f32(top + (20u << 23)));
    return (uint8_t)(((u & 0x80000000u) | (sum + (top >> 20) - (121u << 3)) << 24) >> 24);
}

static inline uint8_t winit_round_f8e4m3(float x)
{
    const uint32_t u = winit_bits_f32(x), sign = u >> 24 & 0x80u, mag = u & 0x7FFFFFFFu;
    return (uint8_t)(mag > 0x43E80000u ? (sign | 0x7Fu) : winit_round_finite_f8e4m3(x)); /* 464, a tie with 480 */
}

static inline float winit_widen_f8e4m3(uint8_t h)
{
    const uint32_t mag = h & 0x7Fu, sign = (uint32_t)(h & 0x80u) << 24;
    const float subnormal = (float)(int32_t)mag * 0x1p-9f;
    const uint32_t normal = (mag << 20) + (120u << 23);
    uint32_t u = mag < 0x08u ? winit_bits_f32(subnormal) : normal;
    u = mag == 0x7Fu ? 0x7FC00000u : u;
    return winit_float_f32(sign | u);
}

/* float8_e5m2: 5 bits of exponent, 2 of fraction, infinities and NaNs: the upper half of a float16. */
static inline uint8_t winit_round_finite_f8e5m2(float x)
{
    const uint32_t u = winit_bits_f32(x), mag = u & 0x7FFFFFFFu;
    const uint32_t top = ((int32_t)mag > 0x38800000 ? mag : 0x38800000u) & 0x7F800000u; /* 2^-14 at least */
    const uint32_t sum = winit_bits_f32(winit_float_f32(mag) + winit_float_f32(top + (21u << 23)));
    return (uint8_t)(((u & 0x80000000u) | (sum + (top >> 21) - (113u << 2)) << 24) >> 24);
}

static inline uint8_t winit_round_f8e5m2(float x)
{
    const uint32_t u = winit_bits_f32(x), sign = u >> 24 & 0x80u, mag = u & 0x7FFFFFFFu;
    uint32_t h = mag >= 0x47700000u ? (sign | 0x7Cu) : winit_round_finite_f8e5m2(x); /* 61440, a tie with 65536 */
    h = mag > 0x7F800000u ? (sign | 0x7Eu) : h;
    return (uint8_t)h;
}

static inline float winit_widen_f8e5m2(uint8_t h)
{
    const uint32_t mag = h & 0x7Fu, sign = (uint32_t)(h & 0x80u) << 24;
    const float subnormal = (float)(int32_t)mag * 0x1p-16f;
    const uint32_t normal = (mag << 21) + (112u << 23);
    uint32_t u = mag < 0x04u ? winit_bits_f32(subnormal) : normal;
    u = mag >= 0x7Cu ? (mag == 0x7Cu ? 0x7F800000u : 0x7FC00000u) : u;
    return winit_float_f32(sign | u);
}

#endif
