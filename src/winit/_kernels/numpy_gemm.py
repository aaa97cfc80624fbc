"""The exact product in NumPy (gemm.h): one fused multiply-add for each step of a chain, without the instruction."""

from __future__ import annotations

import numpy as np

__all__ = ["chain", "multiply_add"]

BLOCK = 384  # of k in a product

F32, F64 = np.float32, np.float64


def multiply_add(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Compute a b + c, rounded once, without the instruction; no operand or result near the ends of the range.

    The exact sum is added up in two floats, the lower of which is rounded to odd, so that the last rounding is that of
    the exact sum (Boldo and Melquiond 2008).
    """
    if c.dtype == F32:  # a product of floats is exact in double
        high, low = a.astype(F64) * b.astype(F64), c.astype(F64)
    else:
        split = F64(134217729.0)  # Dekker's: 2^27 + 1
        high = a * b
        a1, b1 = split * a - (split * a - a), split * b - (split * b - b)
        a2, b2 = a - a1, b - b1
        error = ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2
        total, rest = _two_sum(c, error)
        high, low = _two_sum(high, total)
        return high + _round_to_odd(*_two_sum(rest, low))
    return _round_to_odd(*_two_sum(high, low)).astype(F32)


def _two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rounded sum, and what rounding left out (Knuth)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


def _round_to_odd(total: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The neighbour of total + error whose last bit is 1, where that is not total itself."""
    bits = total.view(np.int64)
    towards = np.where((error > 0) == (total > 0), 1, -1)
    return np.where((bits & 1 == 0) & (error != 0), bits + towards, bits).view(F64)


def chain(a: np.ndarray, b: np.ndarray, c: np.ndarray, add: bool) -> None:
    """C = A B or C + A B: fused multiply-adds over k ascending in blocks of 384, block sums added in order."""
    total = c.copy() if add else None
    for start in range(0, a.shape[1], BLOCK):
        block = np.zeros_like(c)
        for k in range(start, min(a.shape[1], start + BLOCK)):
            block = multiply_add(a[:, k : k + 1], b[k : k + 1], block)
        total = block if total is None else total + block
    c[...] = total
