"""From words to values in Triton: the functions of winit/approx.h, in its order and under its names without the prefix.

uniform     uniform
-2 ln u     neg2log_parts, of a mantissa and an exponent; neg2log_word and neg2log_k53, of an integer
normal      sincos, normal_pair: Box-Muller
truncated   root, quantile_of_root: the z of a tail; truncated

Each is for one type, as in C. The kernels that call them are compiled without floating-point fusion, so that every
product and sum is rounded on its own. Triton's square root and division of float32 are approximations unless they are
asked for by sqrt_rn and div_rn; its minimum of floats does not tell -0 from 0, so choices are `where`. A law's numbers
come as scalars of the arithmetic type, since the interpreter takes bare floats for float32.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: N803, N806
from __future__ import annotations

import triton
import triton.language as tl

from winit._kernels import coefficients as C  # noqa: N812

__all__ = ["int53_f64", "k53", "normal_pair_f32", "normal_pair_f64"]
__all__ += ["truncated_f32", "truncated_f64", "uniform_f32", "uniform_f64"]

# ---- polynomials: a tuple of the degree and the coefficients, lowest first


@triton.jit
def polynomial(x, NUMBERS: tl.constexpr):
    """A polynomial by Horner's rule."""
    DEGREE: tl.constexpr = NUMBERS[0]
    value = x * NUMBERS[DEGREE + 1] + NUMBERS[DEGREE]
    for i in tl.static_range(DEGREE - 1, 0, -1):
        value = value * x + NUMBERS[i]
    return value


@triton.jit
def even_odd(x, EVEN: tl.constexpr, ODD: tl.constexpr):
    """The same as its even part and x times its odd part, each in x squared."""
    square = x * x
    return polynomial(square, EVEN) + polynomial(square, ODD) * x


def _of(coefficients: tuple[float, ...]) -> tl.constexpr:
    return tl.constexpr((len(coefficients) - 1, *coefficients))


LOG_EVEN_F32, LOG_ODD_F32 = _of(C.LOG_F32[0::2]), _of(C.LOG_F32[1::2])
QUANTILE0_EVEN, QUANTILE0_ODD = _of(C.QUANTILE0_F32[0::2]), _of(C.QUANTILE0_F32[1::2])
QUANTILE1_EVEN, QUANTILE1_ODD = _of(C.QUANTILE1_F32[0::2]), _of(C.QUANTILE1_F32[1::2])
SIN_F32, COS_F32 = _of(C.SIN_F32), _of(C.COS_F32)
TWO_LN2_F32, SPLIT_F32 = tl.constexpr(C.TWO_LN2_F32[0]), tl.constexpr(C.QUANTILE_SPLIT_F32[0])
SHIFT0_F32, SHIFT1_F32 = map(tl.constexpr, C.QUANTILE_SHIFT_F32)
TWO_24, TWO_31, TWO_32, TWO_126 = (tl.constexpr(2.0**power) for power in (-24, -31, 32, -126))

LOG_EVEN_F64, LOG_ODD_F64 = _of(C.LOG_F64[0::2]), _of(C.LOG_F64[1::2])
SIN_F64, COS_F64 = _of(C.SIN_F64), _of(C.COS_F64)
TOP0, TOP1, TOP2 = map(_of, (C.QUANTILE0_TOP_F64, C.QUANTILE1_TOP_F64, C.QUANTILE2_TOP_F64))
BOTTOM0, BOTTOM1, BOTTOM2 = map(_of, (C.QUANTILE0_BOTTOM_F64, C.QUANTILE1_BOTTOM_F64, C.QUANTILE2_BOTTOM_F64))
LN2_HIGH, LN2_LOW = map(tl.constexpr, C.TWO_LN2_F64)
SPLIT0, SPLIT1 = map(tl.constexpr, C.QUANTILE_SPLIT_F64)
SHIFT0, SHIFT1, SHIFT2 = map(tl.constexpr, C.QUANTILE_SHIFT_F64)
TWO_51, TWO_53 = tl.constexpr(2.0**-51), tl.constexpr(2.0**-53)

# ---- bits


@triton.jit
def bits_f32(x):
    return x.to(tl.uint32, bitcast=True)


@triton.jit
def float_f32(u):
    return u.to(tl.float32, bitcast=True)


@triton.jit
def bits_f64(x):
    return x.to(tl.uint64, bitcast=True)


@triton.jit
def float_f64(u):
    return u.to(tl.float64, bitcast=True)


# ---- float32


@triton.jit
def signed_f32(u):
    """A word as a float32, taken for a signed integer: one conversion, rounded to nearest."""
    return u.to(tl.int32, bitcast=True).to(tl.float32)


@triton.jit
def uniform_f32(w, low, span, cap):
    """Low + span u for the u in [0, 1) of a word's top 24 bits, and no more than cap."""
    v = (signed_f32(w >> 8) * TWO_24) * span + low
    return tl.where(v < cap, v, cap)


@triton.jit
def neg2log_parts_f32(f, e):
    """-2 ln((1 + f) 2^-e)."""
    return f * even_odd(f, LOG_EVEN_F32, LOG_ODD_F32) + e * TWO_LN2_F32


@triton.jit
def neg2log_word_f32(a):
    """-2 ln((a + 1/2) 2^-32); the upper half of the words by their complement."""
    in_upper = (a >> 31) != 0
    bits = bits_f32(signed_f32(tl.where(in_upper, ~a, a)) + 0.5)
    f_lower = float_f32((bits & 0x007FFFFF) | 0x3F000000) - 1.0
    f_upper = -float_f32(bits - 0x10000000)
    e = tl.where(in_upper, 0, 158 - (bits >> 23))
    return neg2log_parts_f32(tl.where(in_upper, f_upper, f_lower), signed_f32(e))


@triton.jit
def sincos_f32(y):
    """Sine and cosine of pi/2 y, y in [-1, 1]."""
    square = y * y
    return y * polynomial(square, SIN_F32), polynomial(square, COS_F32)


@triton.jit
def normal_pair_f32(a, b):
    """Box-Muller of two words."""
    sign = (b + 0x40000000) & (b * 0 + 0x80000000)
    y = signed_f32(b << 1) * TWO_31
    r = float_f32(bits_f32(tl.sqrt_rn(neg2log_word_f32(a))) ^ sign)
    sine, cosine = sincos_f32(y)
    return r * cosine, r * sine


@triton.jit
def root_f32(t, FAR: tl.constexpr):
    """sqrt(-2 ln t) for t in (0, 1/2]; unless FAR, t is a normal number."""
    e = bits_f32(t) * 0 + 126
    if FAR:
        small = t < TWO_126
        e = tl.where(small, 158, e)
        t = tl.where(small, t * TWO_32, t)
    bits = bits_f32(t)
    f = float_f32((bits & 0x007FFFFF) | 0x3F000000) - 1.0
    return tl.sqrt_rn(neg2log_parts_f32(f, signed_f32(e - (bits >> 23))))


@triton.jit
def quantile_of_root_f32(s, FAR: tl.constexpr):
    """The z >= 0 with Phi(-z) = exp(-s^2 / 2); unless FAR, no root is above the split."""
    q = even_odd(s - SHIFT0_F32, QUANTILE0_EVEN, QUANTILE0_ODD)
    if FAR:
        q = tl.where(s > SPLIT_F32, even_odd(s - SHIFT1_F32, QUANTILE1_EVEN, QUANTILE1_ODD), q)
    return q


@triton.jit
def truncated_f32(n, low, high, below, above, step, threshold, FAR: tl.constexpr):
    """The standard truncated normal of a 24-bit integer: of the smaller tail, counted from the left below threshold."""
    left = n < threshold
    count = signed_f32(tl.where(left, n, 0xFFFFFF - n)) + 0.5
    t = count * step + tl.where(left, below, above)
    q = quantile_of_root_f32(root_f32(t, FAR), FAR)
    z = tl.where(left, -q, q)
    z = tl.where(z < low, low, z)
    return tl.where(z > high, high, z)


# ---- float64: k is a 53-bit integer


@triton.jit
def k53(first_word, second_word):
    """The 53-bit integer of two words: the top bits of both, the second one's above."""
    return (second_word.to(tl.uint64) << 32 | first_word.to(tl.uint64)) >> 11


@triton.jit
def int52_f64(k):
    """K below 2^52, by its bits under the exponent of 2^52: conversions of 64 bits run at a quarter of a sum's rate."""
    return float_f64(k | 0x4330000000000000) - 4503599627370496.0


@triton.jit
def int53_f64(k):
    """K below 2^53, by its halves under the exponents of 2^84 and 2^52."""
    high = float_f64((k >> 32) | 0x4530000000000000) - 19342813113834066795298816.0
    return high + int52_f64(k & 0xFFFFFFFF)


@triton.jit
def uniform_f64(k, low, span, cap):
    """Low + span u for the u in [0, 1) of an integer, and no more than cap."""
    v = (int53_f64(k) * TWO_53) * span + low
    return tl.where(v < cap, v, cap)


@triton.jit
def neg2log_parts_f64(f, e):
    """-2 ln((1 + f) 2^-e)."""
    return e * LN2_HIGH + (f * even_odd(f, LOG_EVEN_F64, LOG_ODD_F64) + e * LN2_LOW)


@triton.jit
def neg2log_k53_f64(k):
    """-2 ln((k + 1/2) 2^-53); the upper half of the integers by their complement."""
    in_upper = (k >> 52) != 0
    bits = bits_f64(int52_f64(tl.where(in_upper, ~k, k) & 0x000FFFFFFFFFFFFF) + 0.5)
    f_lower = float_f64((bits & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000) - 1.0
    f_upper = -float_f64(bits - (53 << 52))
    e = tl.where(in_upper, 0, 1075 - (bits >> 52))
    return neg2log_parts_f64(tl.where(in_upper, f_upper, f_lower), int52_f64(e))


@triton.jit
def sincos_f64(y):
    """Sine and cosine of pi/2 y, y in [-1, 1]."""
    square = y * y
    return y * polynomial(square, SIN_F64), polynomial(square, COS_F64)


@triton.jit
def normal_pair_f64(a, b):
    """Box-Muller of two integers."""
    sign = ((b + 0x0008000000000000) << 11) & (b * 0 + 0x8000000000000000)
    turned = (b & 0x000FFFFFFFFFFFFF) ^ 0x0008000000000000
    y = (float_f64(turned | 0x4330000000000000) - 6755399441055744.0) * TWO_51
    r = float_f64(bits_f64(tl.sqrt(neg2log_k53_f64(a))) ^ sign)
    sine, cosine = sincos_f64(y)
    return r * cosine, r * sine


@triton.jit
def root_f64(t):
    """sqrt(-2 ln t) for normal numbers t in (0, 1/2]."""
    bits = bits_f64(t)
    f = float_f64((bits & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000) - 1.0
    return tl.sqrt(neg2log_parts_f64(f, int52_f64(1022 - (bits >> 52))))


@triton.jit
def quantile_of_root_f64(s, FAR: tl.constexpr):
    """The z >= 0 with Phi(-z) = exp(-s^2 / 2); unless FAR, no root is above the first split."""
    top, bottom = polynomial(s - SHIFT0, TOP0), polynomial(s - SHIFT0, BOTTOM0)
    if FAR:
        beyond = s > SPLIT0
        top = tl.where(beyond, polynomial(s - SHIFT1, TOP1), top)
        bottom = tl.where(beyond, polynomial(s - SHIFT1, BOTTOM1), bottom)
        beyond = s > SPLIT1
        top = tl.where(beyond, polynomial(s - SHIFT2, TOP2), top)
        bottom = tl.where(beyond, polynomial(s - SHIFT2, BOTTOM2), bottom)
    return top / bottom


@triton.jit
def truncated_f64(k, low, high, below, above, step, threshold, FAR: tl.constexpr):
    """The standard truncated normal of an integer: of the smaller tail, counted from the left below threshold."""
    left = k < threshold
    count = int53_f64(tl.where(left, k, 0x1FFFFFFFFFFFFF - k)) + 0.5
    q = quantile_of_root_f64(root_f64(count * step + tl.where(left, below, above)), FAR)
    z = tl.where(left, -q, q)
    z = tl.where(z < low, low, z)
    return tl.where(z > high, high, z)
