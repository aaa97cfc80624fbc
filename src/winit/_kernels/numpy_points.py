"""From words to values in NumPy: the functions of winit/approx.h, in its order and under its names without the prefix.

One function stands for both types: uint32 or float32 in is float32 out, and uint64 (53-bit integers) or float64 in is
float64 out. A NumPy operation for each rounding; only the coefficients are shared with the compiled kernels.

uniform     uniform
-2 ln u     neg2log_parts, of a mantissa and an exponent; neg2log_word and neg2log_k53, of an integer
normal      sincos, normal_of_square, normal_pair: Box-Muller
truncated   root, quantile_of_root: the z of a tail; truncated_root, truncated_of_root, truncated
"""

from __future__ import annotations

from typing import Any

import numpy as np

from winit._kernels import coefficients as C  # noqa: N812

__all__ = [
    "k53",
    "neg2log_k53",
    "neg2log_parts",
    "neg2log_word",
    "normal_of_square",
    "normal_pair",
    "quantile_of_root",
    "root",
    "sincos",
    "truncated",
    "truncated_of_root",
    "truncated_root",
    "uniform",
]

F32, U32, F64, U64 = np.float32, np.uint32, np.float64, np.uint64

# ---- what coefficients are the numbers of


def horner(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """A polynomial, coefficients lowest first, in the arithmetic of x."""
    total = np.full_like(x, x.dtype.type(coefficients[-1]))
    for c in coefficients[-2::-1]:
        total = total * x + x.dtype.type(c)
    return total


def even_odd(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """The same polynomial as its even part and x times its odd part, each in x squared."""
    square = x * x
    return horner(coefficients[0::2], square) + horner(coefficients[1::2], square) * x


# ---- points


def k53(first_word: np.ndarray, second_word: np.ndarray) -> np.ndarray:
    """The 53-bit integer of two words: the top bits of both, the second one's above."""
    return (second_word.astype(U64) << U64(32) | first_word.astype(U64)) >> U64(11)


def uniform(n: np.ndarray, low: Any, span: Any, cap: Any) -> np.ndarray:
    """Low + span u for the u in [0, 1) of a word's top 24 bits or of a 53-bit integer, and no more than cap."""
    u = (n >> U32(8)).astype(F32) * F32(2.0**-24) if n.dtype == U32 else n.astype(F64) * F64(2.0**-53)
    return np.minimum(low + span * u, cap)


def neg2log_parts(f: np.ndarray, e: np.ndarray) -> np.ndarray:
    """-2 ln((1 + f) 2^-e)."""
    if f.dtype == F32:
        return f * even_odd(C.LOG_F32, f) + e * F32(C.TWO_LN2_F32[0])
    return e * F64(C.TWO_LN2_F64[0]) + (f * even_odd(C.LOG_F64, f) + e * F64(C.TWO_LN2_F64[1]))


def neg2log_word(a: np.ndarray) -> np.ndarray:
    """-2 ln((a + 1/2) 2^-32)."""
    return _neg2log_integer(a, 32, F32)


def neg2log_k53(k: np.ndarray) -> np.ndarray:
    """-2 ln((k + 1/2) 2^-53)."""
    return _neg2log_integer(k, 53, F64)


def _neg2log_integer(a: np.ndarray, bits: int, dtype: type) -> np.ndarray:
    """-2 ln((a + 1/2) 2^-bits); for the upper half of the integers from their complement."""
    upper = a >> a.dtype.type(bits - 1) == 1
    folded = np.where(upper, a ^ a.dtype.type((1 << bits) - 1), a)
    y = folded.astype(dtype) + dtype(0.5)
    mantissa, exponent = np.frexp(y)
    f = np.where(upper, y * dtype(-(2.0**-bits)), mantissa - dtype(1))
    e: np.ndarray = np.where(upper, 0, bits - exponent).astype(dtype)
    return neg2log_parts(f, e)


def sincos(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sine and cosine of pi/2 y, y in [-1, 1]."""
    square = y * y
    sine = y * horner(C.SIN_F32 if y.dtype == F32 else C.SIN_F64, square)
    return sine, horner(C.COS_F32 if y.dtype == F32 else C.COS_F64, square)


def normal_of_square(square: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two normals of a squared radius and an angle, an integer whose range is a whole turn."""
    dtype: Any
    dtype, bits = (F32, 32) if b.dtype == U32 else (F64, 53)
    half = 1 << (bits - 1)
    signed = b.astype(np.int64)
    residue = (signed + half // 2) % half - half // 2  # in [-half / 2, half / 2)
    negative = (signed + half // 2) & half != 0
    sine, cosine = sincos(residue.astype(dtype) * dtype(2.0 ** -(bits - 2)))
    r = np.sqrt(square)
    r = np.where(negative, -r, r)
    return r * cosine, r * sine


def normal_pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Box-Muller of two integers: words, or of 53 bits."""
    return normal_of_square(neg2log_word(a) if a.dtype == U32 else neg2log_k53(a), b)


def root(t: np.ndarray) -> np.ndarray:
    """sqrt(-2 ln t) for t in (0, 1/2], subnormal ones too."""
    mantissa, exponent = np.frexp(t)  # the mantissa in [1/2, 1)
    return np.sqrt(neg2log_parts(mantissa - t.dtype.type(1), (-exponent).astype(t.dtype)))


def quantile_of_root(s: np.ndarray) -> np.ndarray:
    """The z >= 0 with Phi(-z) = exp(-s^2 / 2)."""
    if s.dtype == F32:
        z = even_odd(C.QUANTILE0_F32, s - F32(C.QUANTILE_SHIFT_F32[0]))
        beyond = even_odd(C.QUANTILE1_F32, s - F32(C.QUANTILE_SHIFT_F32[1]))
        return np.where(s > F32(C.QUANTILE_SPLIT_F32[0]), beyond, z)
    x0, x1, x2 = (s - F64(shift) for shift in C.QUANTILE_SHIFT_F64)
    z = horner(C.QUANTILE0_TOP_F64, x0) / horner(C.QUANTILE0_BOTTOM_F64, x0)
    second = horner(C.QUANTILE1_TOP_F64, x1) / horner(C.QUANTILE1_BOTTOM_F64, x1)
    third = horner(C.QUANTILE2_TOP_F64, x2) / horner(C.QUANTILE2_BOTTOM_F64, x2)
    first, last = C.QUANTILE_SPLIT_F64
    return np.where(s > last, third, np.where(s > first, second, z))


def truncated_root(n: np.ndarray, below: Any, above: Any, step: Any, threshold: float) -> np.ndarray:
    """The root of the smaller tail at an integer of 24 (uint32) or 53 bits: counted from the left below threshold."""
    dtype: Any
    dtype, last = (F32, 0xFFFFFF) if n.dtype == U32 else (F64, 0x1FFFFFFFFFFFFF)
    left = n < n.dtype.type(threshold)
    m = np.where(left, n, n.dtype.type(last) - n).astype(dtype) + dtype(0.5)
    return root(np.where(left, below, above) + m * step)


def truncated_of_root(s: np.ndarray, n: np.ndarray, low: Any, high: Any, threshold: float) -> np.ndarray:
    """The z of that root, held to [low, high]."""
    q = quantile_of_root(s)
    return np.minimum(np.maximum(np.where(n < n.dtype.type(threshold), -q, q), low), high)


def truncated(n: np.ndarray, low: Any, high: Any, below: Any, above: Any, step: Any, threshold: float) -> np.ndarray:
    """The standard truncated normal of an integer of 24 (uint32) or 53 bits."""
    return truncated_of_root(truncated_root(n, below, above, step, threshold), n, low, high, threshold)
