"""Sparse connections in Numba (scattered.h, sparse.c).

a) normals_at   values of a normal tensor at scattered elements
b) pick         inputs of units, by Floyd's method
c) flush        normals to a destination with any strides
d) walk         sparse_write: units to their inputs at positions of a destination; sparse_rows: inputs of units
e) Sparse       connections bound to a destination: run for a range of it, rows for units
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import numpy as np
from numba import carray

from winit._kernels import default_float_mode, numpy_sparse
from winit._kernels import numba_points as points
from winit._kernels.numba_compiler import F32, F64, I64, U8, U16, U32, U64, compiled, pointer
from winit._kernels.numba_halves import (
    round_bf16,
    round_f8e4m3,
    round_f8e5m2,
    round_f16,
    widen_bf16,
    widen_f8e4m3,
    widen_f8e5m2,
    widen_f16,
)
from winit._kernels.numba_sampling import Fill
from winit._kernels.numba_words import HALF, LOW, TAG_POSITIONS, TAG_VALUES, philox4x32, words_range

__all__ = ["Sparse", "normals_at", "pick"]

AT_ONCE = 256  # connections whose values are made in one loop
FEW = 32  # inputs of a unit that are looked through for each other; of more, each of all that there are has a flag

# ---- a) normals_at


@compiled
def normals_at(k0, k1, flat, p, v):
    """Write mean + std z of a normal tensor at any elements, to float32 or float64."""
    if v.itemsize == 4:
        mean, std = F32(p[0]), F32(p[1])
        for j in range(flat.size):
            i = flat[j]
            w0, w1, w2, w3 = philox4x32(k0, k1, i >> U64(2) & LOW, i >> U64(34), U64(TAG_VALUES), U64(0))
            upper = i & U64(2) != U64(0)
            z0, z1 = points.normal_pair_f32(U32(w2 if upper else w0), U32(w3 if upper else w1))
            v[j] = mean + std * (z1 if i & U64(1) != U64(0) else z0)
    else:
        for j in range(flat.size):
            i = flat[j]
            w0, w1, w2, w3 = philox4x32(k0, k1, i >> U64(1) & LOW, i >> U64(33), U64(TAG_VALUES), U64(0))
            z0, z1 = points.normal_pair_f64(points.k53(w0, w1), points.k53(w2, w3))
            v[j] = p[0] + p[1] * (z1 if i & U64(1) != U64(0) else z0)


# ---- b) pick


@compiled
def pick(words, inputs, found, taken):
    """Choose inputs by Floyd's method, one word each; `taken` is a row of zeros, and one again afterwards."""
    if found.size <= FEW:
        for i in range(found.size):
            j = inputs - found.size + i
            t = I64(U64(words[i]) * U64(j + 1) >> HALF)
            for q in range(i):
                if found[q] == t:
                    t = j
                    break
            found[i] = t
        return
    for i in range(found.size):
        j = inputs - found.size + i
        t = I64(U64(words[i]) * U64(j + 1) >> HALF)
        if taken[t]:
            t = j
        taken[t] = True
        found[i] = t
    for t in found:
        taken[t] = False


# ---- c) flush


@compiled
def flush(k0, k1, p, flat, to, v, dtype, adding, scale):
    """Write the normals at elements `flat` to their addresses; v is room for them."""
    normals_at(k0, k1, flat, p, v)
    for j in range(v.size):
        near = pointer(to[j])
        if dtype == 0:
            one = carray(near, (1,), F32)
            one[0] = one[0] + F32(scale) * F32(v[j]) if adding else F32(v[j])
        elif dtype == 1:
            two = carray(near, (1,), F64)
            two[0] = two[0] + scale * v[j] if adding else v[j]
        elif dtype == 2:
            half = carray(near, (1,), U16)
            half[0] = round_f16(widen_f16(half[0]) + F32(scale) * F32(v[j]) if adding else F32(v[j]))
        elif dtype == 3:
            half = carray(near, (1,), U16)
            half[0] = round_bf16(widen_bf16(half[0]) + F32(scale) * F32(v[j]) if adding else F32(v[j]))
        elif dtype == 4:
            byte = carray(near, (1,), U8)
            byte[0] = round_f8e4m3(widen_f8e4m3(byte[0]) + F32(scale) * F32(v[j]) if adding else F32(v[j]))
        else:
            byte = carray(near, (1,), U8)
            byte[0] = round_f8e5m2(widen_f8e5m2(byte[0]) + F32(scale) * F32(v[j]) if adding else F32(v[j]))


# ---- d) walk


@compiled
def sparse_write(k0, k1, p, dtype, v, axes, keep, first, last, lo, count, address, adding, scale):
    """Write the connections of units first..last that fall on positions lo, ..., lo + count - 1 of the destination.

    axes: a row for each of the tensor's: whether of units, extent, step of the flat index; and of the destination,
    where in the axis it begins, extent, step of the position, stride. Address and strides are modulo 2^64, as sums are.
    """
    inputs = I64(1)
    for axis in range(axes.shape[0]):
        inputs *= I64(1) if axes[axis, 0] else axes[axis, 1]
    found, words = np.empty(keep, np.int64), np.empty(keep, U32)
    taken = np.zeros(inputs if keep > FEW else 0, np.bool_)
    flat, to, held = np.empty(AT_ONCE, U64), np.empty(AT_ONCE, np.int64), 0
    for unit in range(first, last):
        rest, inside = I64(unit), True
        start, position, near = U64(0), I64(0), address
        for axis in range(axes.shape[0] - 1, -1, -1):
            if axes[axis, 0]:
                index = rest % axes[axis, 1]
                rest //= axes[axis, 1]
                start += U64(index * axes[axis, 2])
                index -= axes[axis, 3]
                inside = inside and 0 <= index < axes[axis, 4]
                position += index * axes[axis, 5]
                near += index * axes[axis, 6]
        if not inside:
            continue
        words_range(k0, k1, TAG_POSITIONS, U64(unit) * U64(keep), words)
        pick(words, inputs, found, taken)
        for t in found:
            rest, inside = t, True
            at, place, where = start, position, near
            for axis in range(axes.shape[0] - 1, -1, -1):
                if not axes[axis, 0]:
                    index = rest % axes[axis, 1]
                    rest //= axes[axis, 1]
                    at += U64(index * axes[axis, 2])
                    index -= axes[axis, 3]
                    inside = inside and 0 <= index < axes[axis, 4]
                    place += index * axes[axis, 5]
                    where += index * axes[axis, 6]
            if inside and 0 <= place - lo < count:
                flat[held], to[held] = at, where
                held += 1
                if held == AT_ONCE:
                    flush(k0, k1, p, flat, to, v, dtype, adding, scale)
                    held = 0
    flush(k0, k1, p, flat[:held], to[:held], v[:held], dtype, adding, scale)


@compiled
def sparse_rows(k0, k1, p, inputs, keep, first, last, unit_step, input_step, places, v):
    """Write the inputs of units first..last, ascending, and the values there."""
    found, words = np.empty(keep, np.int64), np.empty(keep, U32)
    taken = np.zeros(inputs if keep > FEW else 0, np.bool_)
    flat, done = np.empty(keep, U64), 0
    for unit in range(first, last):
        words_range(k0, k1, TAG_POSITIONS, U64(unit) * U64(keep), words)
        pick(words, inputs, found, taken)
        found.sort()
        for i in range(keep):
            places[done + i] = found[i]
            flat[i] = U64(unit) * U64(unit_step) + U64(found[i]) * U64(input_step)
        normals_at(k0, k1, flat, p, v[done : done + keep])
        done += keep


# ---- e) Sparse


class Sparse(numpy_sparse.Sparse):
    """Sparse connections of one stream, bound to one destination; see winit._kernels.sample.Sparse."""

    def run(self, lo: int, hi: int) -> None:
        """Fill positions lo..hi of the destination: zeros, and the connections among them."""
        dest = self.dest
        if dest is None or lo == hi:
            return
        steps, positions = row_major(self.shape), row_major(dest.shape)
        address = dest.__array_interface__["data"][0]
        if self.scale is None:
            Fill("", 0, self.dtype, self.key, (0.0,), dest, 0, positions).run(lo, hi)
        if isinstance(self.begin, tuple):
            box = list(zip(self.begin, dest.shape, positions, dest.strides, strict=True))
            shift = 0
        else:
            shift = self.begin or 0
            (stride,) = dest.strides
            box = [(0, extent, step, _wrapped(step * stride)) for extent, step in zip(self.shape, steps, strict=True)]
            address = _wrapped(address - shift * stride)
        rows = [
            (axis in self.axes[0], extent, step, *part)
            for axis, (extent, step, part) in enumerate(zip(self.shape, steps, box, strict=True))
        ]
        units = self.reached(lo, hi)
        with default_float_mode():
            sparse_write(
                U32(self.key[0]),
                U32(self.key[1]),
                np.array(self.params, F64),
                self.dtype,
                np.empty(AT_ONCE, F64 if self.dtype == 1 else F32),
                np.array(rows, np.int64).reshape(len(rows), 7),
                self.keep,
                units.start,
                units.stop,
                shift + lo,
                hi - lo,
                address,
                self.scale is not None,
                0.0 if self.scale is None else float(self.scale),
            )

    def rows(self, first: int, last: int, unit_step: int, input_step: int, inputs: np.ndarray, to: np.ndarray) -> None:
        """Write the inputs of units first..last, ascending, and the values there."""
        count = int(np.prod(self.extents[1], dtype=np.int64))
        key = U32(self.key[0]), U32(self.key[1])
        with default_float_mode():
            sparse_rows(
                *key, np.array(self.params, F64), count, self.keep, first, last, unit_step, input_step, inputs, to
            )


def _wrapped(x: int) -> int:
    """The int64 that is x modulo 2^64."""
    return (x + (1 << 63)) % (1 << 64) - (1 << 63)


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Steps of the flat index, by axis."""
    steps = [1]
    for extent in shape[:0:-1]:
        steps.append(steps[-1] * extent)
    return tuple(steps[::-1])[: len(shape)]
