"""Draw Haar-distributed orthonormal rows from standard normals, by Householder reflections without a factorisation.

Row i of the normals, from column i on, is the vector of the i-th reflection (Stewart 1980). Reflections are applied 256
at a time as I - V' inv(U) V (Schreiber and Van Loan 1989), all of it matrix products: 4/3 n^3 operations for a square,
half of what a factorisation and its Q take.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from winit import _kernels
from winit._dense.products import multiply

__all__ = ["orthonormal_rows"]

BLOCK = 256  # reflections applied at once: part of the definition of the bits


def orthonormal_rows(
    normals: Callable[[int, int], np.ndarray], count: int, length: int, threads: int | None = None
) -> np.ndarray:
    """Make `count` orthonormal rows of `length` numbers, count <= length, uniformly distributed (Haar).

    Q = (H_1 H_2 ... H_n D)' cut to its first rows, where H_i reflects x_i, the normals of row i from column i on, to a
    multiple of e_i, and D makes the multiples positive.

    Parameters
    ----------
    normals : called with (first, last), gives rows first to last of a count x length array of independent standard
        normals, cut to columns first and on: C-contiguous, float32 or float64, and may be written to.
    threads : int or None, the processors this process may use.

    Returns
    -------
    array (count, length) of the normals' dtype.

    """
    engine, _ = _kernels.dense_in_use()
    out = None
    for first in reversed(range(0, count, BLOCK)):
        last = min(first + BLOCK, count)
        v, size = normals(first, last), last - first
        out = np.zeros((count, length), v.dtype) if out is None else out
        half, sign = np.empty((2, size))
        engine.reflectors(v, half, sign)
        gram, factor = np.empty((2, size, size), v.dtype)
        multiply(v, v.T, gram, threads=threads)
        engine.triangle(gram, half, factor, np.empty((size, size)))
        # The first rows of what is reflected are still those of D: their product with V' is a column of it each.
        rest = out[first:, first:]
        np.fill_diagonal(rest[:size], sign)
        along, turned = np.empty((2, size, count - first), v.dtype)
        np.multiply(v[:, :size], sign, out=along[:, :size], casting="same_kind")
        if last < count:
            multiply(v[:, size:], rest[size:, size:].T, along[:, size:], threads=threads)
        multiply(factor, along, turned, threads=threads)
        multiply(turned.T, v, rest, add=True, threads=threads)
    assert out is not None
    return out
