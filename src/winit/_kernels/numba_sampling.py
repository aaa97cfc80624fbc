"""Laws and fills in Numba: loops over words and points, and from boxes to runs (sample.h).

a) laws     a law's transform over whole blocks, in the order of LAWS: one loop and one compiled function each
b) emit     values to their destination: rounded, strided, added
c) Fill     a law bound to a destination: boxes to runs, in one call without the GIL

Words and values are two loops, as in sample.h, since one of both holds more than the registers do. A destination is
given by its address, as the compiled kernels take it, so that strides may be anything.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic

from winit._kernels import LAWS, default_float_mode
from winit._kernels import numba_points as points
from winit._kernels.numba_compiler import F32, F64, I64, OPTIONS, U8, U16, U32, U64, compiled, kept, point, pointer
from winit._kernels.numba_halves import (
    round_bf16,
    round_f8e4m3,
    round_f8e5m2,
    round_f16,
    round_finite_bf16,
    round_finite_f8e4m3,
    round_finite_f8e5m2,
    round_finite_f16,
    widen_bf16,
    widen_f8e4m3,
    widen_f8e5m2,
    widen_f16,
)
from winit._kernels.numba_words import LOW, TAG_VALUES, in_order, planes_32, planes_64

__all__ = ["VALUES", "VALUES_TYPE", "Fill", "emit_f32", "emit_f64", "fill"]

CHUNK = 2048  # values in the first-level cache between transform and destination

# ---- a) laws: blocks block, block + 1, ... of a law, all under one high counter word, to an address: 4 values of
# float32 or 2 of float64 a block. `scratch` is the address of room for its words, `at` of its numbers. Each is compiled
# when it is first called for.


@point
def arrays_f32(blocks, scratch, to, at):
    """Its words, its values and its law's numbers."""
    return (
        carray(pointer(scratch), (2 * blocks,), U64),
        carray(pointer(scratch), (4 * blocks,), U32),
        carray(pointer(to), (4 * blocks,), F32),
        carray(pointer(at), (9,), F64),
    )


@point
def arrays_f64(blocks, scratch, to, at):
    return (
        carray(pointer(scratch), (2 * blocks,), U64),
        carray(pointer(to), (2 * blocks,), F64),
        carray(pointer(at), (9,), F64),
    )


def constant_f32(k0, k1, block, blocks, scratch, to, at):
    _, _, v, p = arrays_f32(blocks, scratch, to, at)
    v[:] = F32(p[0])


def uniform_f32(k0, k1, block, blocks, scratch, to, at):
    w, words, v, p = arrays_f32(blocks, scratch, to, at)
    in_order(k0, k1, TAG_VALUES, block, blocks, w)
    low, span, cap = F32(p[0]), F32(p[1]), F32(p[2])
    for j in range(4 * blocks):
        v[j] = points.uniform_f32(words[j], low, span, cap)


def normal_f32(k0, k1, block, blocks, scratch, to, at):
    w, words, v, p = arrays_f32(blocks, scratch, to, at)
    planes_32(k0, k1, block, blocks, w[:blocks], w[blocks:])
    first, second = words[: 2 * blocks], words[2 * blocks :]
    mean, std = F32(p[0]), F32(p[1])
    for j in range(2 * blocks):
        z0, z1 = points.normal_pair_f32(first[j], second[j])
        v[2 * j] = mean + std * z0
        v[2 * j + 1] = mean + std * z1


@point
def truncated_f32(k0, k1, block, blocks, scratch, to, at, far):
    w, words, v, p = arrays_f32(blocks, scratch, to, at)
    in_order(k0, k1, TAG_VALUES, block, blocks, w)
    mean, std, low, high = F32(p[0]), F32(p[1]), F32(p[2]), F32(p[3])
    below, above, step, threshold = F32(p[4]), F32(p[5]), F32(p[6]), U32(p[7])
    for j in range(4 * blocks):
        v[j] = points.truncated_root_f32(words[j] >> U32(8), below, above, step, threshold, far)
    for j in range(4 * blocks):
        v[j] = mean + std * points.truncated_of_root_f32(v[j], words[j] >> U32(8), low, high, threshold, far)


def truncated_near_f32(k0, k1, block, blocks, scratch, to, at):
    truncated_f32(k0, k1, block, blocks, scratch, to, at, False)


def truncated_far_f32(k0, k1, block, blocks, scratch, to, at):
    truncated_f32(k0, k1, block, blocks, scratch, to, at, True)


def constant_f64(k0, k1, block, blocks, scratch, to, at):
    _, v, p = arrays_f64(blocks, scratch, to, at)
    v[:] = p[0]


def uniform_f64(k0, k1, block, blocks, scratch, to, at):
    w, v, p = arrays_f64(blocks, scratch, to, at)
    in_order(k0, k1, TAG_VALUES, block, blocks, w)
    low, span, cap = p[0], p[1], p[2]
    for j in range(2 * blocks):
        v[j] = points.uniform_f64(w[j] >> U64(11), low, span, cap)


def normal_f64(k0, k1, block, blocks, scratch, to, at):
    w, v, p = arrays_f64(blocks, scratch, to, at)
    first, second = w[:blocks], w[blocks:]
    planes_64(k0, k1, block, blocks, first, second)
    mean, std = p[0], p[1]
    for j in range(blocks):
        z0, z1 = points.normal_pair_f64(first[j] >> U64(11), second[j] >> U64(11))
        v[2 * j] = mean + std * z0
        v[2 * j + 1] = mean + std * z1


@point
def truncated_f64(k0, k1, block, blocks, scratch, to, at, far):
    w, v, p = arrays_f64(blocks, scratch, to, at)
    in_order(k0, k1, TAG_VALUES, block, blocks, w)
    mean, std, low, high, below, above, step, threshold = p[0], p[1], p[2], p[3], p[4], p[5], p[6], U64(p[7])
    for j in range(2 * blocks):
        v[j] = points.truncated_root_f64(w[j] >> U64(11), below, above, step, threshold)
    for j in range(2 * blocks):
        v[j] = mean + std * points.truncated_of_root_f64(v[j], w[j] >> U64(11), low, high, threshold, far)


def truncated_near_f64(k0, k1, block, blocks, scratch, to, at):
    truncated_f64(k0, k1, block, blocks, scratch, to, at, False)


def truncated_far_f64(k0, k1, block, blocks, scratch, to, at):
    truncated_f64(k0, k1, block, blocks, scratch, to, at, True)


VALUES: dict[str, Any] = {
    function.__name__: compiled(function)
    for function in (
        *(constant_f32, uniform_f32, normal_f32, truncated_near_f32, truncated_far_f32),
        *(constant_f64, uniform_f64, normal_f64, truncated_near_f64, truncated_far_f64),
    )
}
VALUES_TYPE = types.void(types.uint32, types.uint32, types.uint64, types.int64, types.int64, types.int64, types.int64)


@lru_cache(maxsize=len(VALUES))
def address_of(name: str) -> int:
    """Compile a function of VALUES, or find it on disk, and give its address."""
    return kept(lambda keep: cfunc(VALUES_TYPE, cache=keep, **OPTIONS)(VALUES[name].py_func)).address


@intrinsic
def call_values(typing_context: Any, address: Any, *arguments: Any) -> Any:
    """Call a function of VALUES by its address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = [context.get_value_type(kind) for kind in VALUES_TYPE.args]
        function = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        builder.call(builder.inttoptr(arguments[0], function), cgutils.unpack_tuple(builder, arguments[1]))
        return context.get_dummy_value()

    return types.void(types.int64, types.Tuple(VALUES_TYPE.args)), generate


# ---- b) emit


@compiled
def emit_f8(v, address, dtype, adding, scale):
    """Write v to float8_e4m3fn (4) or float8_e5m2 (5) side by side."""
    words = carray(pointer(address), (v.size,), U8)
    if dtype == 4 and adding:
        for j in range(v.size):
            words[j] = round_f8e4m3(widen_f8e4m3(words[j]) + scale * v[j])
    elif dtype == 4:
        for j in range(v.size):
            words[j] = round_finite_f8e4m3(v[j])
    elif adding:
        for j in range(v.size):
            words[j] = round_f8e5m2(widen_f8e5m2(words[j]) + scale * v[j])
    else:
        for j in range(v.size):
            words[j] = round_finite_f8e5m2(v[j])


@compiled
def emit_f32(v, address, dtype, adding, scale):
    """Write v to float32 (0), float16 (2), bfloat16 (3), float8_e4m3fn (4) or float8_e5m2 (5) side by side."""
    count, scale = v.size, F32(scale)
    if dtype == 0:
        near = carray(pointer(address), (count,), F32)
        if adding:
            for j in range(count):
                near[j] = near[j] + scale * v[j]
        else:
            for j in range(count):
                near[j] = v[j]
        return
    if dtype > 3:
        emit_f8(v, address, dtype, adding, scale)
        return
    words = carray(pointer(address), (count,), U16)
    if dtype == 2 and adding:
        for j in range(count):
            words[j] = round_f16(widen_f16(words[j]) + scale * v[j])
    elif dtype == 2:
        for j in range(count):
            words[j] = round_finite_f16(v[j])
    elif adding:
        for j in range(count):
            words[j] = round_bf16(widen_bf16(words[j]) + scale * v[j])
    else:
        for j in range(count):
            words[j] = round_finite_bf16(v[j])


@compiled
def emit_f64(v, address, adding, scale):
    near = carray(pointer(address), (v.size,), F64)
    if adding:
        for j in range(v.size):
            near[j] = near[j] + scale * v[j]
    else:
        for j in range(v.size):
            near[j] = v[j]


@compiled
def move(to, to_stride, from_, from_stride, count, size):
    """Copy elements of 1, 2, 4 or 8 bytes between addresses."""
    for j in range(count):
        source, target = pointer(from_ + j * from_stride), pointer(to + j * to_stride)
        if size == 1:
            carray(target, (1,), U8)[0] = carray(source, (1,), U8)[0]
        elif size == 2:
            carray(target, (1,), U16)[0] = carray(source, (1,), U16)[0]
        elif size == 4:
            carray(target, (1,), U32)[0] = carray(source, (1,), U32)[0]
        else:
            carray(target, (1,), U64)[0] = carray(source, (1,), U64)[0]


# ---- c) Fill


@compiled
def fill(values, k0, k1, p, dtype, size, start, lo, hi, axes, address, adding, scale):
    """Fill positions lo..hi of the destination, in row-major order, run by run: an odometer over its axes."""
    shape, stride, step = axes[:, 0], axes[:, 1], axes[:, 2]
    per = I64(2 if dtype == 1 else 4)
    v, spare, scratch = np.empty(CHUNK, F64), np.empty(CHUNK, U64), np.empty(CHUNK // 2, U64)
    v_f32 = v.view(F32)
    last = shape.size - 1
    where = np.zeros(shape.size, np.int64)
    length, rest, flat = shape[last], lo, U64(start)
    column = rest % length
    rest //= length
    for axis in range(last - 1, -1, -1):
        where[axis] = rest % shape[axis]
        rest //= shape[axis]
        flat += U64(where[axis]) * U64(step[axis])
        address += where[axis] * stride[axis]
    apart = stride[last]
    while True:
        count = min(length - column, hi - lo)
        first, to = flat + U64(column), address + column * apart
        left = count
        while left > 0:
            skip, block = I64(first % U64(per)), first // U64(per)
            blocks = min((skip + left + per - 1) // per, CHUNK // 4, I64(U64(1 << 32) - (block & LOW)))
            part = min(left, per * blocks - skip)
            if part == per * blocks and not adding and apart == size and dtype < 2:
                call_values(values, k0, k1, block, blocks, scratch.ctypes.data, to, p.ctypes.data)
            else:
                call_values(values, k0, k1, block, blocks, scratch.ctypes.data, v.ctypes.data, p.ctypes.data)
                near = to if apart == size else spare.ctypes.data
                if adding and apart != size:
                    move(near, size, to, apart, part, size)
                if dtype == 1:
                    emit_f64(v[skip : skip + part], near, adding, scale)
                else:
                    emit_f32(v_f32[skip : skip + part], near, dtype, adding, scale)
                if apart != size:
                    move(to, apart, near, size, part, size)
            first += U64(part)
            to += part * apart
            left -= part
        lo += count
        if lo == hi:
            return
        column = 0
        axis = last - 1
        while True:
            where[axis] += 1
            flat += U64(step[axis])
            address += stride[axis]
            if where[axis] < shape[axis]:
                break
            flat -= U64(where[axis]) * U64(step[axis])
            address -= where[axis] * stride[axis]
            where[axis] = 0
            axis -= 1


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
        p = np.zeros(9)
        p[: len(params)] = params
        merged: list[list[int]] = []  # axes [extent, stride, step]; one joins the last where both run on
        for extent, stride, step in zip(dest.shape, dest.strides, steps, strict=True):
            if extent == 1:
                continue
            if merged and merged[-1][1] == stride * extent and merged[-1][2] == step * extent:
                merged[-1] = [merged[-1][0] * extent, stride, step]
            else:
                merged.append([extent, stride, step])
        if not merged or merged[-1][2] != 1:
            merged.append([1, dest.itemsize, 1])
        axes = np.array(merged, np.int64)
        self.dest, self.size = dest, dest.size
        name = LAWS[law] if law < 3 else "truncated_far" if p[8] else "truncated_near"
        values = address_of(f"{name}_f{64 if dtype == 1 else 32}")
        self.before = (values, U32(key[0]), U32(key[1]), p, dtype, dest.itemsize, U64(start))
        address = dest.__array_interface__["data"][0]
        self.after = (axes, address, scale is not None, 0.0 if scale is None else float(scale))

    def run(self, lo: int, hi: int) -> None:
        """Fill positions lo..hi of the destination, in its row-major order."""
        if lo < hi:
            with default_float_mode():
                fill(*self.before, lo, hi, *self.after)
