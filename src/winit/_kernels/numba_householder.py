"""Householder vectors and the triangular factor of their product, in Numba (householder.c)."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

import numpy as np

from winit._kernels.numba_compiler import F64, compiled

__all__ = ["reflectors", "triangle"]


@compiled
def reflectors(v, half, sign):
    for i in range(v.shape[0]):
        sums, square = np.zeros(16), 0.0
        for k in range(i, v.shape[1]):
            sums[(k - i) & 15] += F64(v[i, k]) * F64(v[i, k])
        for q in range(16):
            square += sums[q]
        first = F64(v[i, i])
        towards = -1.0 if first < 0 else 1.0
        v[i, i] = first + towards * math.sqrt(square) if square > 0 else 1.0
        half[i] = ((square - first * first) + F64(v[i, i]) * F64(v[i, i])) * 0.5
        sign[i] = -towards
        v[i, :i] = 0


@compiled
def triangle(gram, half, to, work):
    count = gram.shape[0]
    for i in range(count - 1, -1, -1):
        work[i] = 0
        work[i, i] = 1
        for k in range(i + 1, count):
            u = F64(gram[i, k])
            for j in range(k, count):
                work[i, j] -= u * work[k, j]
        for j in range(i, count):
            work[i, j] /= half[i]
    for i in range(count):
        for j in range(count):
            to[i, j] = -work[i, j]
