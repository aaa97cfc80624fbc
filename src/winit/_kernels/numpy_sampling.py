"""Laws and fills in NumPy: every value from its own index (sample.h).

a) integers    what an element is made of: a word, or 53 bits of two
b) laws        one function a law, in the order of LAWS: values in float32 or float64 at any indices
c) Fill        a law bound to a destination: positions to indices, values rounded, scaled and added
"""

from __future__ import annotations

from typing import Any

import numpy as np

from winit._kernels import DTYPES, default_float_mode
from winit._kernels import numpy_points as points
from winit._kernels.numpy_halves import ROUND
from winit._kernels.numpy_words import TAG_VALUES, word_at

__all__ = ["LAWS", "Fill", "constant", "normal", "truncated", "uniform", "values"]

CHUNK = 1 << 16  # indices at a time

F32, U32, F64, U64 = np.float32, np.uint32, np.float64, np.uint64

Key = tuple[int, int]
Numbers = tuple[float, ...]

# ---- a) integers


def k53_at(key: Key, index: np.ndarray) -> np.ndarray:
    """53-bit integers of float64 elements: of words 2i and 2i + 1."""
    return points.k53(
        word_at(key, TAG_VALUES, index * U64(2)),
        word_at(key, TAG_VALUES, index * U64(2) + U64(1)),
    )


def integer_at(key: Key, index: np.ndarray, dtype: type) -> np.ndarray:
    """Words of float32 elements (uint32), 53-bit integers of float64 ones (uint64)."""
    return word_at(key, TAG_VALUES, index) if dtype is F32 else k53_at(key, index)


# ---- b) laws


def constant(key: Key, index: np.ndarray, dtype: type, p: Numbers) -> np.ndarray:
    """p[0], whatever the index."""
    return np.full(index.shape, p[0], dtype)


def uniform(key: Key, index: np.ndarray, dtype: type, p: Numbers) -> np.ndarray:
    """Low + span u, no more than cap."""
    low, span, cap = map(dtype, p)
    return points.uniform(integer_at(key, index, dtype), low, span, cap)


def normal(key: Key, index: np.ndarray, dtype: type, p: Numbers) -> np.ndarray:
    """Mean + std z, the z of a pair of elements from their two integers."""
    mean, std = map(dtype, p)
    first = index & ~U64(1)
    z = points.normal_pair(integer_at(key, first, dtype), integer_at(key, first | U64(1), dtype))
    return mean + std * np.where(index & U64(1), z[1], z[0])


def truncated(key: Key, index: np.ndarray, dtype: type, p: Numbers) -> np.ndarray:
    """Mean + std z, z between two cuts, of one integer."""
    mean, std, low, high, below, above, step = map(dtype, p[:7])
    n = integer_at(key, index, dtype)
    n = n >> U32(8) if dtype is F32 else n
    return mean + std * points.truncated(n, low, high, below, above, step, p[7])


LAWS = (constant, uniform, normal, truncated)  # in the order of winit._kernels.LAWS


def values(law: int, key: Key, params: Numbers, index: np.ndarray, dtype: type) -> np.ndarray:
    """Values of a law at any flat indices, in float32 or float64."""
    with np.errstate(all="ignore"):  # both sides of a selection are computed, and one may be out of its range
        return LAWS[law](key, index, dtype, params)


# ---- c) Fill


class Fill:
    """One law of one stream, bound to one destination; see winit._kernels.sample.Fill."""

    def __init__(
        self,
        isa: str,
        law: int,
        dtype: int,
        key: tuple[int, int],
        params: tuple[float, ...],
        dest: np.ndarray,
        start: int,
        steps: tuple[int, ...],
        scale: float | None = None,
    ) -> None:
        self.law, self.dtype, self.key, self.params = law, dtype, key, params
        self.dest, self.start, self.steps, self.scale = dest, start, steps, scale
        self.size = dest.size

    def run(self, lo: int, hi: int) -> None:
        """Fill positions lo..hi of the destination, in its row-major order."""
        with default_float_mode(), np.errstate(all="ignore"):
            for first in range(lo, hi, CHUNK):
                self._run(np.arange(first, min(first + CHUNK, hi)))

    def _run(self, positions: np.ndarray) -> None:
        where: Any = np.unravel_index(positions, self.dest.shape) if self.dest.ndim else ()
        index = np.full(positions.shape, self.start, U64)
        for axis, step in zip(where, self.steps, strict=True):
            index += axis.astype(U64) * U64(step)
        value = values(self.law, self.key, self.params, index, F64 if self.dtype == 1 else F32)
        to_half, from_half = ROUND.get(DTYPES[self.dtype], (None, None))
        if self.scale is not None:
            old = self.dest[where] if self.dest.ndim else self.dest.reshape(1)
            wide = old if from_half is None else from_half(old)
            value = wide + value.dtype.type(self.scale) * value
        self.dest[where if self.dest.ndim else ...] = value if to_half is None else to_half(value)
