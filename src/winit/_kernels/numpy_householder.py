"""Householder vectors and the triangular factor of their product, in NumPy (householder.c)."""

from __future__ import annotations

import numpy as np

from winit._kernels import default_float_mode

__all__ = ["reflectors", "triangle"]

F64 = np.float64


def reflectors(v: np.ndarray, half: np.ndarray, sign: np.ndarray) -> None:
    """Make Householder vectors of rows, from the diagonal on, in place; see winit._kernels.dense.reflectors."""
    with default_float_mode():
        for i, row in enumerate(v):
            x = row[i:].astype(F64)
            padded = np.zeros(-(-x.size // 16) * 16)
            padded[: x.size] = np.square(x)
            sums = np.add.accumulate(padded.reshape(-1, 16))[-1]
            square = np.add.accumulate(sums)[-1]
            towards = -1.0 if x[0] < 0 else 1.0
            row[i] = x[0] + towards * np.sqrt(square) if square > 0 else 1
            half[i] = ((square - x[0] * x[0]) + F64(row[i]) * F64(row[i])) * 0.5
            sign[i] = -towards
            row[:i] = 0


def triangle(gram: np.ndarray, half: np.ndarray, to: np.ndarray, work: np.ndarray) -> None:
    """Write minus the triangular factor of a product of reflections; see winit._kernels.dense.triangle."""
    with default_float_mode():
        u = gram.astype(F64)
        work[...] = np.eye(len(gram))
        for i in range(len(gram) - 1, -1, -1):
            for k in range(i + 1, len(gram)):
                work[i, k:] -= u[i, k] * work[k, k:]
            work[i, i:] /= half[i]
        to[...] = -work
