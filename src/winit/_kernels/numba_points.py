"""From words to values in Numba: the functions of winit/approx.h, in its order and under its names without the prefix.

uniform     uniform
-2 ln u     neg2log_parts, of a mantissa and an exponent; neg2log_word and neg2log_k53, of an integer
normal      sincos, normal_of_square, normal_pair: Box-Muller
truncated   root, quantile_of_root: the z of a tail; truncated_root, truncated_of_root, truncated

Each is for one type, as in C, and copied into the loop that calls it. Numba makes int64 of a difference of two uint32:
every step of a 32-bit computation says its type, or the loop has half the lanes.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from winit._kernels import coefficients as C  # noqa: N812
from winit._kernels.numba_compiler import F32, I32, U32, U64, bits_f32, bits_f64, float_f32, float_f64, point

__all__ = [
    "int52_f64",
    "int53_f64",
    "k53",
    "neg2log_k53_f64",
    "neg2log_parts_f32",
    "neg2log_parts_f64",
    "neg2log_word_f32",
    "normal_of_square_f32",
    "normal_of_square_f64",
    "normal_pair_f32",
    "normal_pair_f64",
    "quantile_of_root_f32",
    "quantile_of_root_f64",
    "root_f32",
    "root_f64",
    "sincos_f32",
    "sincos_f64",
    "truncated_f32",
    "truncated_f64",
    "truncated_of_root_f32",
    "truncated_of_root_f64",
    "truncated_root_f32",
    "truncated_root_f64",
    "uniform_f32",
    "uniform_f64",
]

# ---- polynomials


def _horner(coefficients: tuple[Any, ...], x: str, name: str) -> str:
    """Nested source of a polynomial over a tuple's entries: ((c2 * x + c1) * x + c0)."""
    last = len(coefficients) - 1
    source = f"{name}[{last}]"
    for i in range(last - 1, -1, -1):
        source = f"({source} * {x} + {name}[{i}])"
    return source


def _polynomial(coefficients: tuple[Any, ...]) -> Callable[[Any], Any]:
    """A compiled polynomial, lowest coefficient first, unrolled."""
    space = {"c": coefficients}
    exec(f"def polynomial(x):\n    return {_horner(coefficients, 'x', 'c')}", space)
    return point(space["polynomial"])  # type: ignore  # what exec defined


def _even_odd(coefficients: tuple[Any, ...]) -> Callable[[Any], Any]:
    """The same as its even part and x times its odd part, each in x squared."""
    even, odd = _polynomial(coefficients[0::2]), _polynomial(coefficients[1::2])

    @point
    def polynomial(x):
        square = x * x
        return even(square) + odd(square) * x

    return polynomial


# Coefficients as constants of the arithmetic type: LLVM sees numbers, not loads.
def _single(coefficients: tuple[float, ...]) -> tuple[Any, ...]:
    return tuple(map(F32, coefficients))


log_f32, quantile0_f32, quantile1_f32 = (_even_odd(_single(t)) for t in (C.LOG_F32, C.QUANTILE0_F32, C.QUANTILE1_F32))
sin_f32, cos_f32 = (_polynomial(_single(t)) for t in (C.SIN_F32, C.COS_F32))
TWO_LN2_F32, SPLIT_F32 = F32(C.TWO_LN2_F32[0]), F32(C.QUANTILE_SPLIT_F32[0])
SHIFT0_F32, SHIFT1_F32 = map(F32, C.QUANTILE_SHIFT_F32)
HALF_F32, ONE_F32 = F32(0.5), F32(1)
TWO_24, TWO_31, TWO_32 = F32(2.0**-24), F32(2.0**-31), F32(2.0**32)

log_f64 = _even_odd(C.LOG_F64)
sin_f64, cos_f64 = map(_polynomial, (C.SIN_F64, C.COS_F64))
top0, top1, top2 = map(_polynomial, (C.QUANTILE0_TOP_F64, C.QUANTILE1_TOP_F64, C.QUANTILE2_TOP_F64))
bottom0, bottom1, bottom2 = map(_polynomial, (C.QUANTILE0_BOTTOM_F64, C.QUANTILE1_BOTTOM_F64, C.QUANTILE2_BOTTOM_F64))
LN2_HIGH, LN2_LOW = C.TWO_LN2_F64
SPLIT0, SPLIT1 = C.QUANTILE_SPLIT_F64
SHIFT0, SHIFT1, SHIFT2 = C.QUANTILE_SHIFT_F64

# ---- float32


@point
def uniform_f32(w, low, span, cap):
    """Low + span u for the u in [0, 1) of a word's top 24 bits, and no more than cap."""
    v = low + span * (F32(I32(w >> U32(8))) * TWO_24)
    return v if v < cap else cap


@point
def neg2log_parts_f32(f, e):
    """-2 ln((1 + f) 2^-e)."""
    return f * log_f32(f) + e * TWO_LN2_F32


@point
def neg2log_word_f32(a):
    """-2 ln((a + 1/2) 2^-32); the upper half of the words by their complement."""
    upper = U32(U32(0) - (a >> U32(31)))
    bits = bits_f32(F32(I32(a ^ upper)) + HALF_F32)
    f_lower = bits_f32(float_f32(U32((bits & U32(0x007FFFFF)) | U32(0x3F000000))) - ONE_F32)
    f_upper = U32(bits + U32(0x70000000))
    f = float_f32(U32((f_upper & upper) | (f_lower & ~upper)))
    e = I32(U32(U32(158) - (bits >> U32(23))) & ~upper)
    return neg2log_parts_f32(f, F32(e))


@point
def sincos_f32(y):
    """Sine and cosine of pi/2 y, y in [-1, 1]."""
    square = y * y
    return y * sin_f32(square), cos_f32(square)


@point
def normal_of_square_f32(square, b):
    """Two normals of a squared radius, neg2log_word_f32 of a word, and of another word, the angle."""
    sign = U32(U32(b + U32(0x40000000)) & U32(0x80000000))
    y = F32(I32(U32(b << U32(1)))) * TWO_31
    r = float_f32(U32(bits_f32(F32(math.sqrt(square))) ^ sign))
    sine, cosine = sincos_f32(y)
    return r * cosine, r * sine


@point
def normal_pair_f32(a, b):
    """Box-Muller of two words."""
    return normal_of_square_f32(neg2log_word_f32(a), b)


@point
def root_f32(t, far):
    """sqrt(-2 ln t) for t in (0, 1/2]; unless `far`, t is a normal number."""
    e = U32(126)
    if far:
        e = U32(158) if t < F32(2.0**-126) else e
        t = t * TWO_32 if t < F32(2.0**-126) else t
    bits = bits_f32(t)
    f = float_f32(U32((bits & U32(0x007FFFFF)) | U32(0x3F000000))) - ONE_F32
    return F32(math.sqrt(neg2log_parts_f32(f, F32(I32(U32(e - (bits >> U32(23))))))))


@point
def quantile_of_root_f32(s, far):
    """The z >= 0 with Phi(-z) = exp(-s^2 / 2); unless `far`, no root is above the split."""
    q = quantile0_f32(s - SHIFT0_F32)
    if far:
        other = quantile1_f32(s - SHIFT1_F32)
        q = other if s > SPLIT_F32 else q
    return q


@point
def truncated_root_f32(n, below, above, step, threshold, far):
    """The root of the smaller tail at a 24-bit integer: counted from the left below threshold."""
    t = (below if n < threshold else above) + (
        F32(I32(n if n < threshold else U32(U32(0xFFFFFF) - n))) + HALF_F32
    ) * step
    return root_f32(t, far)


@point
def truncated_of_root_f32(s, n, low, high, threshold, far):
    """The z of that root, held to [low, high]."""
    q = quantile_of_root_f32(s, far)
    z = -q if n < threshold else q
    z = low if z < low else z
    return high if z > high else z


@point
def truncated_f32(n, low, high, below, above, step, threshold, far):
    """The standard truncated normal of a 24-bit integer."""
    s = truncated_root_f32(n, below, above, step, threshold, far)
    return truncated_of_root_f32(s, n, low, high, threshold, far)


# ---- float64: k is a 53-bit integer


@point
def k53(first_word, second_word):
    """The 53-bit integer of two words, each the low half of a uint64: the top bits of both, the second one's above."""
    return (second_word << U64(32) | (first_word & U64(0xFFFFFFFF))) >> U64(11)


@point
def int52_f64(k):
    """K below 2^52, by its bits under the exponent of 2^52."""
    return float_f64(k | U64(0x4330000000000000)) - 4503599627370496.0


@point
def int53_f64(k):
    """K below 2^53, by its halves under the exponents of 2^84 and 2^52."""
    high = float_f64(k >> U64(32) | U64(0x4530000000000000)) - 19342813113834066795298816.0
    return high + int52_f64(k & U64(0xFFFFFFFF))


@point
def uniform_f64(k, low, span, cap):
    """Low + span u for the u in [0, 1) of an integer, and no more than cap."""
    v = low + span * (int53_f64(k) * 2.0**-53)
    return v if v < cap else cap


@point
def neg2log_parts_f64(f, e):
    """-2 ln((1 + f) 2^-e)."""
    return e * LN2_HIGH + (f * log_f64(f) + e * LN2_LOW)


@point
def neg2log_k53_f64(k):
    """-2 ln((k + 1/2) 2^-53); the upper half of the integers by their complement."""
    upper = k >> U64(52) != U64(0)
    folded = (~k if upper else k) & U64(0x000FFFFFFFFFFFFF)
    bits = bits_f64(int52_f64(folded) + 0.5)
    f_lower = float_f64((bits & U64(0x000FFFFFFFFFFFFF)) | U64(0x3FE0000000000000)) - 1.0
    f_upper = float_f64(bits + U64(0x7CB0000000000000))
    e = U64(0) if upper else U64(1075) - (bits >> U64(52))
    return neg2log_parts_f64(f_upper if upper else f_lower, int52_f64(e))


@point
def sincos_f64(y):
    """Sine and cosine of pi/2 y, y in [-1, 1]."""
    square = y * y
    return y * sin_f64(square), cos_f64(square)


@point
def normal_of_square_f64(square, b):
    """Two normals of a squared radius, neg2log_k53_f64 of an integer, and of another integer, the angle."""
    sign = (b + U64(0x0008000000000000)) << U64(11) & U64(0x8000000000000000)
    turned = (b & U64(0x000FFFFFFFFFFFFF)) ^ U64(0x0008000000000000)
    y = (float_f64(turned | U64(0x4330000000000000)) - 6755399441055744.0) * 2.0**-51
    r = float_f64(bits_f64(math.sqrt(square)) ^ sign)
    sine, cosine = sincos_f64(y)
    return r * cosine, r * sine


@point
def normal_pair_f64(a, b):
    """Box-Muller of two integers."""
    return normal_of_square_f64(neg2log_k53_f64(a), b)


@point
def root_f64(t):
    """sqrt(-2 ln t) for normal numbers t in (0, 1/2]."""
    bits = bits_f64(t)
    f = float_f64((bits & U64(0x000FFFFFFFFFFFFF)) | U64(0x3FE0000000000000)) - 1.0
    return math.sqrt(neg2log_parts_f64(f, int52_f64(U64(1022) - (bits >> U64(52)))))


@point
def quantile_of_root_f64(s, far):
    """The z >= 0 with Phi(-z) = exp(-s^2 / 2); unless `far`, no root is above the first split."""
    x = s - SHIFT0
    top, bottom = top0(x), bottom0(x)
    if far:  # all three, and two choices: vectors have no other way
        x = s - SHIFT1
        other_top, other_bottom = top1(x), bottom1(x)
        top, bottom = (other_top if s > SPLIT0 else top), (other_bottom if s > SPLIT0 else bottom)
        x = s - SHIFT2
        other_top, other_bottom = top2(x), bottom2(x)
        top, bottom = (other_top if s > SPLIT1 else top), (other_bottom if s > SPLIT1 else bottom)
    return top / bottom


@point
def truncated_root_f64(k, below, above, step, threshold):
    """The root of the smaller tail at an integer: counted from the left below threshold."""
    left = k < threshold
    return root_f64((below if left else above) + (int53_f64(k if left else U64(0x1FFFFFFFFFFFFF) - k) + 0.5) * step)


@point
def truncated_of_root_f64(s, k, low, high, threshold, far):
    """The z of that root, held to [low, high]."""
    q = quantile_of_root_f64(s, far)
    z = -q if k < threshold else q
    z = low if z < low else z
    return high if z > high else z


@point
def truncated_f64(k, low, high, below, above, step, threshold, far):
    """The standard truncated normal of an integer."""
    s = truncated_root_f64(k, below, above, step, threshold)
    return truncated_of_root_f64(s, k, low, high, threshold, far)
