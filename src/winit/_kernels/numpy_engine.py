"""The kernel contract in plain NumPy: slow, obvious, the oracle of the others and the engine without a compiler.

Every value is computed from its own index: words of that index, then the transform of docs/streams.md, one NumPy
operation per rounding. Only the coefficients are shared with the compiled kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from winit._kernels import coefficients as C  # noqa: N812
from winit._kernels import default_float_mode
from winit._kernels.activation_rows import BIT, TABLE
from winit._kernels.activation_rows import slope_number as row_slope_number

__all__ = [
    "Fill",
    "Gradient",
    "Product",
    "Sampled",
    "Sparse",
    "activate",
    "reflectors",
    "triangle",
    "values",
    "words",
]

CHUNK = 1 << 16  # indices at a time
BLOCK = 384  # of k in a product

ROWS = tuple(TABLE.values())  # in the order of the kernels' numbers

F32, U32, F64, U64 = np.float32, np.uint32, np.float64, np.uint64


# ---- the stream


def word_at(key: tuple[int, int], tag: int, index: np.ndarray) -> np.ndarray:
    """Words at any indices (uint64): Philox4x32-10, lane index & 3 of block index >> 2."""
    block = index >> U64(2)
    low32 = U64(0xFFFFFFFF)
    c0, c1 = block & low32, block >> U64(32)
    c2, c3 = np.full_like(block, tag), np.zeros_like(block)
    for r in range(10):
        k0, k1 = (key[0] + r * 0x9E3779B9) & 0xFFFFFFFF, (key[1] + r * 0xBB67AE85) & 0xFFFFFFFF
        p0, p1 = c0 * U64(0xD2511F53), c2 * U64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> U64(32)) ^ c1 ^ U64(k0), p1 & low32, (p0 >> U64(32)) ^ c3 ^ U64(k1), p0 & low32
    lane = index & U64(3)
    return np.choose(lane.astype(np.intp), (c0, c1, c2, c3)).astype(U32)


def k53_at(key: tuple[int, int], index: np.ndarray) -> np.ndarray:
    """53-bit integers of float64 elements: words 2i (low) and 2i + 1 (high), their top 53 bits."""
    low = word_at(key, 0, index * U64(2)).astype(U64)
    high = word_at(key, 0, index * U64(2) + U64(1)).astype(U64)
    return (high << U64(32) | low) >> U64(11)


def words(isa: str, key: tuple[int, int], tag: int, lo: int, dest: np.ndarray) -> None:
    """Write words lo, lo + 1, ... of the stream (key, tag) to dest."""
    for done in range(0, dest.size, CHUNK):
        part = dest[done : done + CHUNK]
        part[...] = word_at(key, tag, U64(lo + done) + np.arange(part.size, dtype=U64))


# ---- the elementary functions


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


def neg2log_parts(f: np.ndarray, e: np.ndarray) -> np.ndarray:
    """-2 ln((1 + f) 2^-e)."""
    if f.dtype == F32:
        return f * even_odd(C.LOG_F32, f) + e * F32(C.TWO_LN2_F32[0])
    return e * F64(C.TWO_LN2_F64[0]) + (f * even_odd(C.LOG_F64, f) + e * F64(C.TWO_LN2_F64[1]))


def neg2log_fraction(x: np.ndarray) -> np.ndarray:
    """-2 ln x for x in (0, 1): mantissa in [1/2, 1), f = mantissa - 1."""
    mantissa, exponent = np.frexp(x)
    return neg2log_parts(mantissa - x.dtype.type(1), (-exponent).astype(x.dtype))


def neg2log_integer(a: np.ndarray, bits: int, dtype: type) -> np.ndarray:
    """-2 ln((a + 1/2) 2^-bits); for the upper half of the integers from their complement."""
    upper = a >> a.dtype.type(bits - 1) == 1
    folded = np.where(upper, a ^ a.dtype.type((1 << bits) - 1), a)
    y = folded.astype(dtype) + dtype(0.5)
    mantissa, exponent = np.frexp(y)
    f = np.where(upper, y * dtype(-(2.0**-bits)), mantissa - dtype(1))
    e: np.ndarray = np.where(upper, 0, bits - exponent).astype(dtype)
    return neg2log_parts(f, e)


def normal_pair(a: np.ndarray, b: np.ndarray, bits: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Box-Muller of two integers of this many bits."""
    half = 1 << (bits - 1)
    signed = b.astype(np.int64)
    residue = (signed + half // 2) % half - half // 2  # in [-half / 2, half / 2)
    negative = (signed + half // 2) & half != 0
    y = residue.astype(dtype) * dtype(2.0 ** -(bits - 2))
    square = y * y
    sine = y * horner(C.SIN_F32 if dtype is F32 else C.SIN_F64, square)
    cosine = horner(C.COS_F32 if dtype is F32 else C.COS_F64, square)
    r = np.sqrt(neg2log_integer(a, bits, dtype))
    r = np.where(negative, -r, r)
    return r * cosine, r * sine


def quantile(t: np.ndarray) -> np.ndarray:
    """The z >= 0 with Phi(-z) = t, t in (0, 1/2]."""
    s = np.sqrt(neg2log_fraction(t))
    if t.dtype == F32:
        z = even_odd(C.QUANTILE0_F32, s - F32(C.QUANTILE_SHIFT_F32[0]))
        beyond = even_odd(C.QUANTILE1_F32, s - F32(C.QUANTILE_SHIFT_F32[1]))
        return np.where(s > F32(C.QUANTILE_SPLIT_F32[0]), beyond, z)
    x0, x1, x2 = (s - F64(shift) for shift in C.QUANTILE_SHIFT_F64)
    z = horner(C.QUANTILE0_TOP_F64, x0) / horner(C.QUANTILE0_BOTTOM_F64, x0)
    second = horner(C.QUANTILE1_TOP_F64, x1) / horner(C.QUANTILE1_BOTTOM_F64, x1)
    third = horner(C.QUANTILE2_TOP_F64, x2) / horner(C.QUANTILE2_BOTTOM_F64, x2)
    first, last = C.QUANTILE_SPLIT_F64
    return np.where(s > last, third, np.where(s > first, second, z))


# ---- the laws: values in float32 or float64 arithmetic, by index


def uniform(key: tuple[int, int], index: np.ndarray, dtype: type, p: tuple[float, ...]) -> np.ndarray:
    low, span, cap = map(dtype, p)
    if dtype is F32:
        u = (word_at(key, 0, index) >> U32(8)).astype(F32) * F32(2.0**-24)
    else:
        u = k53_at(key, index).astype(F64) * F64(2.0**-53)
    return np.minimum(low + span * u, cap)


def normal(key: tuple[int, int], index: np.ndarray, dtype: type, p: tuple[float, ...]) -> np.ndarray:
    mean, std = map(dtype, p)
    first = index & ~U64(1)
    if dtype is F32:
        z = normal_pair(word_at(key, 0, first), word_at(key, 0, first | U64(1)), 32, F32)
    else:
        z = normal_pair(k53_at(key, first), k53_at(key, first | U64(1)), 53, F64)
    return mean + std * np.where(index & U64(1), z[1], z[0])


def truncated(key: tuple[int, int], index: np.ndarray, dtype: type, p: tuple[float, ...]) -> np.ndarray:
    mean, std, low, high, below, above, step = map(dtype, p[:7])
    if dtype is F32:
        n, last = word_at(key, 0, index) >> U32(8), 0xFFFFFF
    else:
        n, last = k53_at(key, index), 0x1FFFFFFFFFFFFF
    left = n < n.dtype.type(p[7])
    m = np.where(left, n, n.dtype.type(last) - n).astype(dtype) + dtype(0.5)
    q = quantile(np.where(left, below, above) + m * step)
    return mean + std * np.minimum(np.maximum(np.where(left, -q, q), low), high)


def constant(key: tuple[int, int], index: np.ndarray, dtype: type, p: tuple[float, ...]) -> np.ndarray:
    return np.full(index.shape, p[0], dtype)


LAWS = (constant, uniform, normal, truncated)  # in the order of winit._kernels.LAWS


def values(law: int, key: tuple[int, int], params: tuple[float, ...], index: np.ndarray, dtype: type) -> np.ndarray:
    """Values of a law at any flat indices, in float32 or float64."""
    with np.errstate(all="ignore"):  # both sides of a selection are computed, and one may be out of its range
        return LAWS[law](key, index, dtype, params)


# ---- half types, as 16-bit words


def round_bf16(x: np.ndarray) -> np.ndarray:
    u = x.view(U32)
    nearest = (u + U32(0x7FFF) + (u >> U32(16) & U32(1))) >> U32(16)
    return np.where(np.isnan(x), u >> U32(16) | U32(0x40), nearest).astype(np.uint16)


def widen_bf16(h: np.ndarray) -> np.ndarray:
    return (h.astype(U32) << U32(16)).view(F32)


def round_f16(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return x.astype(np.float16).view(np.uint16)


def widen_f16(h: np.ndarray) -> np.ndarray:
    return h.view(np.float16).astype(F32)


ROUND = {2: (round_f16, widen_f16), 3: (round_bf16, widen_bf16)}


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
        to_half, from_half = ROUND.get(self.dtype, (None, None))
        if self.scale is not None:
            old = self.dest[where] if self.dest.ndim else self.dest.reshape(1)
            wide = old if from_half is None else from_half(old)
            value = wide + value.dtype.type(self.scale) * value
        self.dest[where if self.dest.ndim else ...] = value if to_half is None else to_half(value)


# ---- the dense pass


def slope_number(code: int, param: float, kind: type) -> float:
    """What the derivative of elu and selu is told by besides the output; of the others the parameter."""
    name = list(TABLE)[code]
    return row_slope_number(name, param if TABLE[name].parameter else 0.0, kind)


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
        if self.exact:
            self.chain(a, b, c, self.add)
            return
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


def activate(isa: str, activation: int, param: float, src: Any, dest: Any, wide: bool, derive: bool) -> None:
    """Write f of numbers given as bytes to dest; with derive, multiply dest by f'."""
    row, kind = ROWS[activation], F64 if wide else F32
    given, to = np.frombuffer(src, kind), np.frombuffer(dest, kind)
    with np.errstate(all="ignore"):
        function = (row.from_output or row.derivative) if derive else row.value
        number = slope_number(activation, param, kind) if derive else param
        result = function(given.astype(F64), number).astype(kind)
        to[...] = to * result if derive else result


# ---- sparse connections


class Sparse:
    """Sparse connections of one stream, bound to one destination; see winit._kernels.sample.Sparse."""

    def __init__(
        self,
        isa: str,
        dtype: int,
        key: tuple[int, int],
        params: tuple[float, ...],
        shape: tuple[int, ...],
        units: tuple[bool, ...],
        keep: int,
        dest: np.ndarray | None = None,
        begin: tuple[int, ...] | int | None = None,
        scale: float | None = None,
    ) -> None:
        self.dtype, self.key, self.params, self.shape, self.keep = dtype, key, params, shape, keep
        self.axes = [[axis for axis, unit in enumerate(units) if unit == kind] for kind in (True, False)]
        self.extents = [tuple(shape[axis] for axis in axes) for axes in self.axes]
        self.dest, self.begin, self.scale = dest, begin, scale
        self.size = 0 if dest is None else dest.size
        self.by_units = not units or units[0]

    def reached(self, lo: int, hi: int) -> range:
        """The units that positions lo..hi may belong to: those of some indices of the first axis, or all."""
        assert self.dest is not None
        count, first, last = int(np.prod(self.extents[0], dtype=np.int64)), 0, 1
        if self.by_units and self.shape:
            if isinstance(self.begin, tuple):
                row = max(int(np.prod(self.dest.shape[1:], dtype=np.int64)), 1)
                first, last = self.begin[0] + lo // row, self.begin[0] + (hi - 1) // row + 1
            else:
                assert self.begin is not None
                row = int(np.prod(self.shape[1:], dtype=np.int64))
                first, last = (self.begin + lo) // row, (self.begin + hi - 1) // row + 1
            count //= self.shape[0]
        return range(first * count, last * count)

    def picks(self, unit: np.ndarray) -> np.ndarray:
        """The inputs of some units, (keep, units), in the order in which Floyd's method finds them."""
        inputs = int(np.prod(self.extents[1], dtype=np.int64))
        found = np.full((self.keep, unit.size), -1, np.int64)
        for i in range(self.keep):
            j = inputs - self.keep + i
            word = word_at(self.key, 1, unit.astype(U64) * U64(self.keep) + U64(i)).astype(U64)
            t = (word * U64(j + 1) >> U64(32)).astype(np.int64)
            found[i] = np.where((found[:i] == t).any(0), j, t)
        return found

    def at(self, flat: np.ndarray) -> np.ndarray:
        """The values at flat indices, before they are rounded to the type."""
        return values(2, self.key, self.params, flat.astype(U64), F64 if self.dtype == 1 else F32)

    def run(self, lo: int, hi: int) -> None:
        """Fill positions lo..hi of the destination: zeros, and the connections among them."""
        dest, to_half = self.dest, ROUND.get(self.dtype, (None, None))
        assert dest is not None
        if lo == hi:
            return
        with default_float_mode(), np.errstate(all="ignore"):
            if self.scale is None:
                dest[np.unravel_index(np.arange(lo, hi), dest.shape)] = 0
            unit = np.array(self.reached(lo, hi), np.int64)
            picks = self.picks(unit)
            where: list[Any] = [None] * len(self.shape)
            for axes, extents, index in zip(
                self.axes, self.extents, (np.broadcast_to(unit, picks.shape), picks), strict=True
            ):
                for axis, part in zip(axes, np.unravel_index(index.ravel(), extents) if extents else (), strict=True):
                    where[axis] = part
            flat, step = np.zeros(picks.size, U64), 1  # NumPy's ravel_multi_index refuses shapes of 2^60 elements
            for part, extent in zip(where[::-1], self.shape[::-1], strict=True):
                flat += part.astype(U64) * U64(step % (1 << 64))
                step *= extent
            if isinstance(self.begin, tuple):
                local = [part - first for part, first in zip(where, self.begin, strict=True)]
            else:
                local = [flat.astype(np.int64) - (self.begin or 0)]
            inside = np.ones(flat.shape, bool)
            for part, extent in zip(local, dest.shape, strict=True):
                inside &= (part >= 0) & (part < extent)
            local, flat = [part[inside] for part in local], flat[inside]
            position = np.ravel_multi_index(local, dest.shape)
            inside = (position >= lo) & (position < hi)
            place, value = tuple(part[inside] for part in local), self.at(flat[inside])
            if self.scale is not None:
                wide = dest[place] if to_half[1] is None else to_half[1](dest[place])
                value = wide + value.dtype.type(self.scale) * value
            dest[place] = value if to_half[0] is None else to_half[0](value)

    def rows(self, first: int, last: int, unit_step: int, input_step: int, inputs: np.ndarray, to: np.ndarray) -> None:
        """Write the inputs of units first..last, ascending, and the values there."""
        unit = np.arange(first, last)
        picks = np.sort(self.picks(unit), axis=0).T
        with default_float_mode():
            value = self.at((unit[:, None] * unit_step + picks * input_step).ravel())
        inputs[...] = picks.ravel()
        to[...] = value
