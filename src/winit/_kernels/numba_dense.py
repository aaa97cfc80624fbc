"""The dense pass in Numba (dense.h): NumPy's matmul, with what precedes and follows it fused into one sweep each.

a) activate              an activation, or its derivative, over bytes
b) Sampled, Gradient     operands that are not in memory
c) Product               C = A B, its activation, what backward needs, statistics

Statistics of a batch in memory are numpy_dense's.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from typing import Any

import numpy as np

from winit._kernels import numba_gemm, numpy_dense
from winit._kernels.activation_rows import BIT
from winit._kernels.numba_activations import slope_of, value_of
from winit._kernels.numba_compiler import F32, F64, compiled
from winit._kernels.numba_sampling import Fill
from winit._kernels.numpy_dense import measure

__all__ = ["Gradient", "Product", "Sampled", "activate", "measure"]

NO_BITS, NO_SUMS = np.empty((0, 0), np.uint8), np.empty((0, 0))

# ---- a) activate


@compiled
def activate_all(code, p, given, to, slope):
    for i in range(to.size):
        x = F64(given[i])
        to[i] = to[i] * to.dtype.type(slope_of(code, x, p)) if slope else to.dtype.type(value_of(code, x, p))


def activate(isa: str, activation: int, param: float, src: Any, dest: Any, wide: bool, derive: bool) -> None:
    """Write f of numbers given as bytes to dest; with derive, multiply dest by f'."""
    kind = F64 if wide else F32
    param = numpy_dense.slope_number(activation, param, kind) if derive else param
    activate_all(activation, param, np.frombuffer(src, kind), np.frombuffer(dest, kind), derive)


# ---- b) operands


@compiled
def derive(g, grad, code, p, bits, kept, sums):
    """Grad * f' into g, and the sums of its rows, 64 at a time, in one sweep."""
    for r in range(g.shape[0]):
        for j in range(g.shape[1]):
            value = grad[r, j]
            if bits.size:
                if not bits[r, j // 8] >> (j % 8) & 1:
                    value = g.dtype.type(p) * value if code == 4 else g.dtype.type(0)
            elif kept.size:
                value = value * g.dtype.type(slope_of(code, F64(kept[r, j]), p))
            g[r, j] = value
            if sums.size:
                if r % 64 == 0:
                    sums[r // 64, j] = 0.0
                sums[r // 64, j] += F64(value)


class Sampled(numpy_dense.Sampled):
    """Weights of a stream as an operand, drawn whole by this engine."""

    def array(self) -> np.ndarray:
        dest = np.empty(self.whole, (F32, F64)[self.spec[2]])
        Fill(*self.spec, dest, 0, (self.whole[1], 1)).run(0, dest.size)
        return dest.T if self.transposed else dest


class Gradient(numpy_dense.Gradient):
    """grad * f' as an operand."""

    def __init__(
        self,
        isa: str,
        grad: np.ndarray,
        activation: int,
        param: float,
        kept: np.ndarray | None,
        sums: np.ndarray | None,
        transposed: bool = False,
    ) -> None:
        super().__init__(isa, grad, activation, param, kept, sums, transposed)
        self.number = numpy_dense.slope_number(activation, param, grad.dtype.type)

    def array(self) -> np.ndarray:
        g = np.empty_like(self.grad, order="C", subok=False)
        bits = self.kept if self.row.kept == BIT and self.kept is not None else NO_BITS
        kept = self.kept if self.row.kept != BIT and self.kept is not None else np.empty((0, 0), g.dtype)
        derive(
            g,
            self.grad,
            self.code,
            self.number,
            bits,
            kept,
            NO_SUMS if self.sums is None else self.sums,
        )
        return g.T if self.transposed else g


# ---- c) Product


@compiled
def finish(y, bias, code, p, number, bits, inputs, moments, saturated):
    """What follows a product, in one sweep over y; arrays without elements stand for what is not asked for."""
    zeros = saturations = 0
    for r in range(y.shape[0]):
        for j in range(y.shape[1]):
            z = y[r, j]
            if bias.size:
                z = z + bias[0, j]
            if bits.size:
                if j % 8 == 0:
                    bits[r, j // 8] = 0
                if z > 0:
                    bits[r, j // 8] |= np.uint8(1 << (j % 8))
            if inputs.size:
                inputs[r, j] = z
            value = y.dtype.type(value_of(code, F64(z), p))
            y[r, j] = value
            if moments.size:
                if j % 64 == 0:
                    moments[r, j // 64 * 2] = 0.0
                moments[r, j // 64 * 2] += F64(value)
                zeros += value == 0
                slope = slope_of(code, F64(z) if code >= 8 or code in (3, 4) else F64(value), number)
                saturations += abs(slope) < saturated
        if moments.size:
            for group in range(moments.shape[1] // 2):
                end = min(64 * group + 64, y.shape[1])
                mean, squares = moments[r, 2 * group] / (end - 64 * group), 0.0
                for j in range(64 * group, end):
                    squares += (F64(y[r, j]) - mean) ** 2
                moments[r, 2 * group + 1] = squares
    return zeros, saturations


class Product(numpy_dense.Product):
    """C = A B and what follows it."""

    @staticmethod
    def chain(a: np.ndarray, b: np.ndarray, c: np.ndarray, add: bool) -> None:
        numba_gemm.chain(a, np.ascontiguousarray(b), c, add)

    def __init__(self, isa: str, a: Any, b: Any, c: np.ndarray, threads: int, **keywords: Any) -> None:
        super().__init__(isa, a, b, c, threads, **keywords)
        self.code: Any = keywords.get("activation")

    def _run(self) -> None:
        if self.row is None or self.exact:
            super()._run()
            return
        a, b = (m if isinstance(m, np.ndarray) else m.array() for m in (self.a, self.b))
        np.matmul(a, b, out=self.c)
        none = np.empty((0, 0), self.c.dtype)
        self.zeros, self.saturations = finish(
            self.c,
            none if self.bias is None else self.bias,
            self.code,
            self.param,
            numpy_dense.slope_number(self.code, self.param, self.c.dtype.type),
            self.kept if self.row.kept == BIT else NO_BITS,
            none if self.row.kept == BIT or self.kept is None else self.kept,
            NO_SUMS if self.moments is None else self.moments,
            self.saturated,
        )
