"""Logarithm, exponential and cosine of arrays of float64, the same bits everywhere.

By + - * / and scaling by powers of two alone, since libm's and NumPy's differ between systems: for the few values of
structured schemes, not for kernels. Errors: log and exp under 2 ulp, cosines rounded once.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

__all__ = ["cosines", "cosines_at", "exp_array", "log_array", "log_of_expm1"]

_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fefa0000p-1"), float.fromhex("0x1.cf79abc9e3b3ap-40")


def log_array(x: np.ndarray) -> np.ndarray:
    """Compute the natural logarithm of positive, finite, normal numbers.

    x = m 2^e with m in [0.707, 1.414); ln m = 2 artanh s, s = (m - 1) / (m + 1), whose series in s^2 < 0.0295 ends
    below 1e-17 after eleven terms.

    >>> log_array(np.array([1.0, 8.0])).tolist()
    [0.0, 2.0794415416798357]
    """
    m, e = np.frexp(np.asarray(x, np.float64))
    low = m < math.sqrt(0.5)
    m, e = np.where(low, 2 * m, m), np.where(low, e - 1, e).astype(np.float64)
    s = (m - 1) / (m + 1)
    square, tail = s * s, np.zeros_like(m)
    for k in range(21, 1, -2):
        tail = (tail + 1 / k) * square
    small = 2 * s * tail + e * _LN2_LOW
    return e * _LN2_HIGH + (2 * s + small)


def exp_array(x: np.ndarray) -> np.ndarray:
    """Compute e^x for |x| < 700.

    >>> exp_array(np.array([0.0, 1.0])).tolist()
    [1.0, 2.7182818284590455]
    """
    x = np.asarray(x, np.float64)
    k = np.rint(x * 1.4426950408889634)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    return np.ldexp(1 + _expm1_series(r), k.astype(np.int64))


def _expm1_series(r: np.ndarray) -> np.ndarray:
    """e^r - 1 for |r| <= 0.35."""
    total = np.zeros_like(r)
    for k in range(15, 1, -1):
        total = (total + 1) * (r / k)
    return r + r * total


def log_of_expm1(x: np.ndarray) -> np.ndarray:
    """Compute ln(e^x - 1), the inverse of softplus, for x in (1e-300, 700).

    >>> float(log_of_expm1(np.array([0.5]))[0])
    -0.43275212956718856
    """
    x = np.asarray(x, np.float64)
    small = x < 0.35
    # ln(e^x - 1) = x + ln(1 - e^-x), whose 1 - e^-x loses its digits for small x.
    left = np.where(small, -_expm1_series(np.where(small, -x, -0.1)), 1 - exp_array(-np.where(small, 1.0, x)))
    return x + log_array(left)


@lru_cache(maxsize=16)
def cosines(count: int) -> np.ndarray:
    """Compute cos(2 pi i / count) for i = 0 ... count - 1, correctly rounded.

    >>> cosines(6).tolist()
    [1.0, 0.5, -0.5, -1.0, -0.5, 0.5]
    """
    from winit._core.exact import cosine_of_turns

    table = np.array([cosine_of_turns(i, count) for i in range(count)])
    table.flags.writeable = False
    return table


def cosines_at(turns: np.ndarray, count: int) -> np.ndarray:
    """Compute cos(2 pi i / count) for an array of integers i, 0 <= i < count, correctly rounded.

    From the table of all, which the next call has; one of more than half a megabyte is made only where most of it is
    asked for.

    >>> cosines_at(np.array([[0, 1], [2, 3]]), 6).tolist()
    [[1.0, 0.5], [-0.5, -1.0]]
    """
    if count <= max(1 << 16, turns.size):
        return cosines(count)[turns]
    from winit._core.exact import cosine_of_turns

    found, places = np.unique(turns, return_inverse=True)
    table = np.array([cosine_of_turns(i, count) for i in found.tolist()], np.float64)
    return table[places].reshape(turns.shape)
