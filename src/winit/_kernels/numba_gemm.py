"""The exact product in Numba (gemm.h): fused multiply-adds in the order of its chains, over rows of B."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import intrinsic

from winit._kernels.numba_compiler import compiled

__all__ = ["chain", "fma"]


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """The fused multiply-add a b + c."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return c(c, c, c), generate


@compiled
def chain(a, b, c, add):
    """C = A B or C + A B: fused multiply-adds over k ascending in blocks of 384, block sums added in order.

    The rows of B are contiguous. Eight steps of a chain for each load and store of a sum; 384 by 512 of B stay in the
    second-level cache.
    """
    m, n, depth = c.shape[0], c.shape[1], a.shape[1]
    for start in range(0, depth, 384):
        stop = min(depth, start + 384)
        for left in range(0, n, 512):
            right = min(n, left + 512)
            sums = np.empty(right - left, c.dtype)
            for i in range(m):
                sums[:] = 0
                k = start
                while k + 8 <= stop:
                    f0, f1, f2, f3 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
                    f4, f5, f6, f7 = a[i, k + 4], a[i, k + 5], a[i, k + 6], a[i, k + 7]
                    b0, b1, b2, b3 = (b[k, left:], b[k + 1, left:], b[k + 2, left:], b[k + 3, left:])
                    b4, b5, b6, b7 = (b[k + 4, left:], b[k + 5, left:], b[k + 6, left:], b[k + 7, left:])
                    for j in range(sums.size):
                        x = fma(f3, b3[j], fma(f2, b2[j], fma(f1, b1[j], fma(f0, b0[j], sums[j]))))
                        sums[j] = fma(f7, b7[j], fma(f6, b6[j], fma(f5, b5[j], fma(f4, b4[j], x))))
                    k += 8
                for rest in range(k, stop):
                    factor, row = a[i, rest], b[rest, left:]
                    for j in range(sums.size):
                        sums[j] = fma(factor, row[j], sums[j])
                to = c[i, left:]
                for j in range(sums.size):
                    to[j] = to[j] + sums[j] if add or start > 0 else sums[j]
