/* Activation functions and their derivatives as point functions: static inline C99, in float64.
 *
 * A float32 result is the float64 one rounded once; `precise` chooses polynomials long enough for a float64 result. It
 * is a constant where it is given, so that a loop over a function holds one polynomial and vectorises. No branch, no
 * libm, no fused multiply-add: the same bits on every system. NaN comes through; arguments of any size do. */
#ifndef WINIT_ACTIVATIONS_H
#define WINIT_ACTIVATIONS_H

#include <stdint.h>
#include <string.h>

#include "activation_coefficients.h"

#if defined(__GNUC__)
#define WINIT_POINT static inline __attribute__((always_inline, unused))
#define WINIT_UNROLL_32 _Pragma("GCC unroll 32")
#else
#define WINIT_POINT static inline
#define WINIT_UNROLL_32
#endif

WINIT_POINT uint64_t winit_bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

WINIT_POINT double winit_of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

WINIT_POINT double winit_magnitude(double x) { return winit_of_bits(winit_bits_of(x) & 0x7FFFFFFFFFFFFFFFu); }

WINIT_POINT double winit_with_sign(double magnitude, double x)
{
    return winit_of_bits(winit_bits_of(magnitude) | (winit_bits_of(x) & 0x8000000000000000u));
}

/* Even and odd powers apart: two short chains instead of a long one. */
#define WINIT_POLYNOMIAL(name)                                                                                         \
    WINIT_POINT double winit_polynomial_##name(double x)                                                               \
    {                                                                                                                  \
        static const double c[] = WINIT_##name;                                                                        \
        const int degree = WINIT_##name##_DEGREE;                                                                      \
        const double square = x * x;                                                                                   \
        double same = c[degree], other = c[degree - 1];                                                                \
        WINIT_UNROLL_32                                                                                                \
        for (int i = degree - 2; i >= 0; i -= 2) same = same * square + c[i];                                          \
        WINIT_UNROLL_32                                                                                                \
        for (int i = degree - 3; i >= 0; i -= 2) other = other * square + c[i];                                        \
        return degree % 2 ? same * x + other : other * x + same;                                                       \
    }
WINIT_POLYNOMIAL(EXP_SHORT)
WINIT_POLYNOMIAL(EXP_LONG)
WINIT_POLYNOMIAL(LOG_SHORT)
WINIT_POLYNOMIAL(LOG_LONG)
WINIT_POLYNOMIAL(MILLS_SHORT)
WINIT_POLYNOMIAL(MILLS_LONG)
#define WINIT_EITHER(name, precise, x)                                                                                 \
    ((precise) ? winit_polynomial_##name##_LONG(x) : winit_polynomial_##name##_SHORT(x))

/* e^(x + low) = (1 + m) p q with m in about [-0.3, 0.42] and p q a power of two, in two factors since it may lie
 * outside the range of one. low is small beside x. */
typedef struct {
    double m, p, q;
} winit_exponential;

WINIT_POINT winit_exponential winit_exponential_of(double x, double low, int precise)
{
    winit_exponential e;
    x = x < -750.0 ? -750.0 : x;
    x = x > 710.0 ? 710.0 : x;
    const double shifted = x * 0x1.71547652b82fep+0 + 0x1.8p52; /* the last bits of the sum are the nearest integer */
    const double k = shifted - 0x1.8p52;
    /* ln 2 in two parts, of which the first has few enough bits that its product with k is exact */
    const double r = ((x - k * 0x1.62e42fefa0000p-1) - k * 0x1.cf79abc9e3b3ap-40) + low;
    e.m = r + r * r * WINIT_EITHER(EXP, precise, r);
    const uint64_t biased = (winit_bits_of(shifted) + 2046u) & 0xFFFu, half = biased >> 1;
    e.p = winit_of_bits(half << 52);
    e.q = winit_of_bits((biased - half) << 52);
    return e;
}

WINIT_POINT double winit_exp(double x, double low, int precise)
{
    const winit_exponential e = winit_exponential_of(x, low, precise);
    return (1.0 + e.m) * e.p * e.q;
}

/* e^x - 1 for x <= 0 */
WINIT_POINT double winit_expm1(double x, int precise)
{
    const winit_exponential e = winit_exponential_of(x, 0.0, precise);
    return e.m * e.p * e.q + (e.p * e.q - 1.0);
}

/* ln(1 + t), t in [0, 1]: 2 atanh(t / (2 + t)) */
WINIT_POINT double winit_log1p(double t, int precise)
{
    const double s = t / (2.0 + t), w = s * s;
    return 2.0 * s + 2.0 * s * (w * WINIT_EITHER(LOG, precise, w));
}

/* s = 1 / (1 + e^-x) and c = 1 - s, both without cancellation. */
WINIT_POINT void winit_logistic(double x, int precise, double *s, double *c)
{
    const double t = winit_exp(-winit_magnitude(x), 0.0, precise);
    const double large = 1.0 / (1.0 + t), small = t * large;
    *s = x < 0.0 ? small : large;
    *c = x < 0.0 ? large : small;
}

/* Phi(x), and e^(-x^2 / 2), of which the normal density is 1 / sqrt(2 pi). The square is taken in two parts, the first
 * exact, since e^ turns its rounding into a relative error. */
WINIT_POINT void winit_normal_cdf(double x, int precise, double *cdf, double *density)
{
    double a = winit_magnitude(x);
    a = a > 40.0 ? 40.0 : a; /* Phi(-40) is 0 in float64 */
    const double head = winit_of_bits(winit_bits_of(a) & 0xFFFFFFFFF8000000u);
    const double e = winit_exp(-0.5 * (head * head), precise ? -0.5 * ((a - head) * (a + head)) : 0.0, precise);
    const double inverse = 1.0 / ((a + 4.0) * (1.0 + 2.0 * a)); /* one division serves both quotients */
    const double u = (a - 4.0) * ((1.0 + 2.0 * a) * inverse);
    const double lower = e * (WINIT_EITHER(MILLS, precise, u) * ((a + 4.0) * inverse));
    *cdf = x < 0.0 ? lower : 1.0 - lower;
    *density = e;
}

/* ---- the functions, value and derivative ------------------------------------------------------------------------ */

WINIT_POINT double winit_sigmoid(double x, int precise)
{
    double s, c;
    winit_logistic(x, precise, &s, &c);
    return s;
}

WINIT_POINT double winit_tanh(double x, int precise)
{
    const double m = winit_expm1(-2.0 * winit_magnitude(x), precise);
    return winit_with_sign((0.0 - m) / (2.0 + m), x); /* 0 - m, so that 0 gives 0 with the sign of x */
}

WINIT_POINT double winit_elu(double x, double alpha, int precise)
{
    const double negative = alpha * winit_expm1(x > 0.0 ? 0.0 : x, precise);
    return x > 0.0 ? x : negative;
}

#define WINIT_SELU_SCALE 1.0507009873554804934193349852946
#define WINIT_SELU_ALPHA 1.6732632423543772848170429916717

WINIT_POINT double winit_selu(double x, int precise)
{
    const double negative = WINIT_SELU_SCALE * WINIT_SELU_ALPHA * winit_expm1(x > 0.0 ? 0.0 : x, precise);
    return x > 0.0 ? WINIT_SELU_SCALE * x : negative;
}

WINIT_POINT double winit_softplus(double x, int precise)
{
    const double t = winit_exp(-winit_magnitude(x), 0.0, precise);
    return (x < 0.0 ? 0.0 : x) + winit_log1p(t, precise);
}

WINIT_POINT double winit_gelu(double x, int precise)
{
    double cdf, density;
    winit_normal_cdf(x, precise, &cdf, &density);
    return x * cdf;
}

WINIT_POINT double winit_gelu_derivative(double x, int precise)
{
    double cdf, density;
    winit_normal_cdf(x, precise, &cdf, &density);
    return cdf + x * (density * 0.39894228040143267794);
}

/* gelu_tanh(x) = x / 2 (1 + tanh(u / 2)) = x sigmoid(u) with u = 2 sqrt(2 / pi) (x + 0.044715 x^3) */
#define WINIT_GELU_SLOPE 1.5957691216057307117597842397375
WINIT_POINT double winit_gelu_tanh(double x, int precise)
{
    double s, c, held = x > 64.0 ? 64.0 : x;
    held = held < -64.0 ? -64.0 : held;
    winit_logistic(WINIT_GELU_SLOPE * (held + 0.044715 * (held * held * held)), precise, &s, &c);
    return x * s;
}

WINIT_POINT double winit_gelu_tanh_derivative(double x, int precise)
{
    double s, c, held = x > 64.0 ? 64.0 : x;
    held = held < -64.0 ? -64.0 : held;
    winit_logistic(WINIT_GELU_SLOPE * (held + 0.044715 * (held * held * held)), precise, &s, &c);
    return s + held * (s * c) * (WINIT_GELU_SLOPE * (1.0 + 0.134145 * (held * held)));
}

WINIT_POINT double winit_silu(double x, int precise)
{
    double s, c;
    winit_logistic(x, precise, &s, &c);
    return x * s;
}

WINIT_POINT double winit_silu_derivative(double x, int precise)
{
    double s, c;
    winit_logistic(x, precise, &s, &c);
    return s * (1.0 + x * c);
}

/* mish(x) = x tanh(ln(1 + e^x)) = x n (n + 2) / (n (n + 2) + 2), n = e^x; above 0 in e^-x */
WINIT_POINT double winit_mish(double x, int precise)
{
    const double t = winit_exp(-winit_magnitude(x), 0.0, precise);
    const double top = x < 0.0 ? t * (t + 2.0) : 1.0 + 2.0 * t, bottom = top + (x < 0.0 ? 2.0 : 2.0 * (t * t));
    return x * (top / bottom);
}

WINIT_POINT double winit_mish_derivative(double x, int precise)
{
    const double t = winit_exp(-winit_magnitude(x), 0.0, precise);
    const double top = x < 0.0 ? t * (t + 2.0) : 1.0 + 2.0 * t, bottom = top + (x < 0.0 ? 2.0 : 2.0 * (t * t));
    const double slope = 4.0 * (x < 0.0 ? t : t * t) * (1.0 + t) / (bottom * bottom);
    return top / bottom + x * slope;
}

/* Derivatives of those functions whose output tells them, from the output. alpha of elu and floor = 1.7581 of selu are
 * rounded to y's type, so that a saturated unit, y = -alpha or -floor, has the derivative 0. */
WINIT_POINT double winit_sigmoid_slope(double y) { return y * (1.0 - y); }
WINIT_POINT double winit_tanh_slope(double y) { return (1.0 - y) * (1.0 + y); }
WINIT_POINT double winit_elu_slope(double y, double alpha) { return y > 0.0 ? 1.0 : y + alpha; }
WINIT_POINT double winit_selu_slope(double y, double floor) { return y > 0.0 ? WINIT_SELU_SCALE : y + floor; }
WINIT_POINT double winit_softplus_slope(double y, int precise) { return -winit_expm1(-y, precise); }

#endif
