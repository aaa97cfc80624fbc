"""The dense pass in NumPy (dense.h): operands made whole, NumPy's matmul, and what follows it.

a) activate              an activation, or its derivative, over bytes
b) Sampled, Gradient     operands that are not in memory
c) Product               C = A B, its activation, what backward needs, statistics
d) measure               statistics of a batch in memory

The activations themselves are in activation_rows.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from winit._kernels import default_float_mode
from winit._kernels.activation_rows import BIT, TABLE
from winit._kernels.activation_rows import slope_number as row_slope_number
from winit._kernels.numpy_gemm import chain
from winit._kernels.numpy_sampling import Fill

__all__ = ["Gradient", "Product", "Sampled", "activate", "measure", "slope_number"]

ROWS = tuple(TABLE.values())  # in the order of the kernels' numbers

F32, F64 = np.float32, np.float64

# ---- a) activate


def slope_number(code: int, param: float, kind: type) -> float:
    """What the derivative of elu and selu is told by besides the output; of the others the parameter."""
    name = list(TABLE)[code]
    return row_slope_number(name, param if TABLE[name].parameter else 0.0, kind)


def activate(isa: str, activation: int, param: float, src: Any, dest: Any, wide: bool, derive: bool) -> None:
    """Write f of numbers given as bytes to dest; with derive, multiply dest by f'."""
    row, kind = ROWS[activation], F64 if wide else F32
    given, to = np.frombuffer(src, kind), np.frombuffer(dest, kind)
    with np.errstate(all="ignore"):
        function = (row.from_output or row.derivative) if derive else row.value
        number = slope_number(activation, param, kind) if derive else param
        result = function(given.astype(F64), number).astype(kind)
        to[...] = to * result if derive else result


# ---- b) operands


class Sampled:
    """Weights of a stream as an operand; see winit._kernels.dense.Sampled."""

    def __init__(
        self,
        isa: str,
        law: int,
        dtype: int,
        key: tuple[int, int],
        params: tuple[float, ...],
        shape: tuple[int, int],
        transposed: bool = False,
    ) -> None:
        self.spec = isa, law, dtype, key, params
        self.whole, self.transposed = shape, transposed
        self.shape = shape[::-1] if transposed else shape

    def array(self) -> np.ndarray:
        dest = np.empty(self.whole, (F32, F64)[self.spec[2]])
        bound = Fill(*self.spec, dest, 0, (self.whole[1], 1))
        bound.run(0, bound.size)
        return dest.T if self.transposed else dest


class Gradient:
    """grad * f' as an operand; see winit._kernels.dense.Gradient."""

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
        self.grad, self.row, self.code, self.param = grad, ROWS[activation], activation, param
        self.kept, self.sums = kept, sums
        self.transposed = transposed
        self.shape = grad.shape[::-1] if transposed else grad.shape

    def array(self) -> np.ndarray:
        g, kind = self.grad, self.grad.dtype.type
        with np.errstate(all="ignore"):
            if self.row.kept == BIT:
                assert self.kept is not None
                bits = np.unpackbits(self.kept, axis=1, count=g.shape[1], bitorder="little").astype(bool)
                g = np.where(bits, g, kind(self.param) * g if self.param else kind(0))
            elif self.kept is not None:
                slope = self.row.from_output or self.row.derivative
                g = g * slope(self.kept.astype(F64), slope_number(self.code, self.param, kind)).astype(kind)
        if self.sums is not None:
            for i in range(len(self.sums)):
                self.sums[i] = g[64 * i : 64 * i + 64].astype(F64).sum(0)
        return g.T if self.transposed else g

    def add_up(self, i: int) -> None:
        """Sum rows 64 i and on; the first call sums all."""
        if i == 0:
            with default_float_mode(), np.errstate(all="ignore"):
                self.array()


# ---- c) Product


class Product:
    """C = A B and what follows it; see winit._kernels.dense.Product. As exact as that only where asked to be."""

    tasks = 1
    chain = staticmethod(chain)

    def __init__(
        self,
        isa: str,
        a: Any,
        b: Any,
        c: np.ndarray,
        threads: int,
        *,
        exact: bool = False,
        add: bool = False,
        activation: int | None = None,
        param: float = 0.0,
        bias: np.ndarray | None = None,
        kept: np.ndarray | None = None,
        moments: np.ndarray | None = None,
        saturated: float = 0.0,
    ) -> None:
        self.a, self.b, self.c, self.threads = a, b, c, 1
        self.exact, self.add = exact, add
        self.row = None if activation is None else ROWS[activation]
        self.param, self.bias, self.kept, self.moments, self.saturated = param, bias, kept, moments, saturated
        self.left, self.zeros, self.saturations = 1, 0, 0

    def run(self, limit: int) -> int:
        """Do up to `limit` of the one task that there is."""
        done, self.left = min(limit, self.left), self.left - min(limit, self.left)
        if done:
            with default_float_mode(), np.errstate(all="ignore"):
                self._run()
        return done

    def _run(self) -> None:
        a, b = (m if isinstance(m, np.ndarray) else m.array() for m in (self.a, self.b))
        c, row = self.c, self.row
        if self.exact and row is None:
            self.chain(a, b, c, self.add)
            return
        if self.exact:
            product = np.empty(c.shape, c.dtype)
            self.chain(a, b, product, False)
        else:
            product = np.matmul(a, b)
        if row is None:
            c[...] = c + product if self.add else product
            return
        z = product if self.bias is None else product + self.bias
        wide = z.astype(F64)
        y = row.value(wide, self.param).astype(c.dtype)
        c[...] = y
        if self.kept is not None:
            self.kept[...] = np.packbits(z > 0, axis=1, bitorder="little") if row.kept == BIT else z
        if self.moments is not None:
            pad = np.zeros((len(y), self.moments.shape[1] // 2 * 64))
            pad[:, : y.shape[1]] = y
            groups = pad.reshape(len(y), -1, 64)
            sizes = np.minimum(64, y.shape[1] - 64 * np.arange(groups.shape[1]))
            self.moments[:, 0::2] = groups.sum(2)
            apart = (groups - (groups.sum(2) / sizes)[:, :, None]) * (np.arange(64) < sizes[:, None])
            self.moments[:, 1::2] = np.square(apart).sum(2)
            slope = (
                row.derivative(wide, self.param)
                if row.from_output is None
                else row.from_output(y, slope_number(ROWS.index(row), self.param, c.dtype.type))
            )
            self.zeros = int((y == 0).sum())
            self.saturations = int((np.abs(slope) < self.saturated).sum())


# ---- d) measure


def measure(isa: str, y: np.ndarray, start: int, lengths: np.ndarray, sums: np.ndarray) -> int:
    """Take the statistics of 64 rows; see winit._kernels.dense.measure."""
    with default_float_mode(), np.errstate(all="ignore"):
        rows = y[start : start + 64].astype(F64)
        largest = np.abs(rows).max(1)
        scale = np.ldexp(1.0, np.minimum(-np.frexp(np.where(np.isfinite(largest), largest, 1.0))[1], 1000))
        scaled = rows * scale[:, None]
        own = np.square(scaled).sum(1)
        lengths[start : start + 64] = own / (scale * scale)
        apart = rows - y[0].astype(F64)
        sums[0] += apart.sum(0)
        sums[1] += np.square(apart).sum(0)
        if len(sums) == 4:
            sums[2] += (rows != 0).sum(0)
            sums[3] += (scaled / np.sqrt(np.where(own == 0, 1.0, own))[:, None]).sum(0)
        return int((own == 0).sum())
