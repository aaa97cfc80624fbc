"""The kernel contract in Numba: the same operations in the same order, so the same bits, compiled when first used.

a) bits      floats as integers and back
b) points    Philox and the transforms of approx.h, one element, pair or block
c) values    a law over whole blocks of the stream, one loop each
d) emit      values to their destination: rounded, strided, added
e) Fill      boxes to runs, in one call without the GIL
f) dense     NumPy's matmul, with what precedes and follows it fused into one sweep each

No fastmath: LLVM then contracts and reorders nothing. A destination is given by its address, as the compiled kernels
take it, so that strides may be anything. docs/streams.md defines the bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

try:
    from llvmlite import ir
    from numba import carray, njit, types
    from numba.extending import intrinsic
except ImportError:
    raise ImportError(
        "engine 'numba' needs the package numba, which is not installed: pip install 'winit[numba]'"
    ) from None

from winit._kernels import coefficients as C  # noqa: N812
from winit._kernels import default_float_mode, reference
from winit.activations import BIT, GELU_CUBE, GELU_SLOPE, SELU_ALPHA, SELU_SCALE

__all__ = ["Fill", "Gradient", "Product", "Sampled", "Sparse", "activate", "reflectors", "triangle", "words"]

F32, F64, I32, I64, U16, U32, U64 = np.float32, np.float64, np.int32, np.int64, np.uint16, np.uint32, np.uint64
CHUNK = 2048  # values in the first-level cache between transform and destination

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile without the GIL, keeping the result on disk where there is a place for it.

    The cache is keyed by processor, and by the time and size of this file. What it takes from other files are
    constants: the coefficients, frozen with the stream, and those of selu and gelu_tanh.
    """
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no directory that can be written
        return njit(nogil=True, error_model="numpy")(function)


def point(function: Function) -> Function:
    """Compile as part of what calls it: copied in before LLVM looks for loops to vectorise, and finds no calls."""
    return njit(nogil=True, inline="always", error_model="numpy")(function)


# ---- a) bits


def _cast(source: Any, target: Any) -> Any:
    def typed(typing_context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(source), generate

    return intrinsic(typed)


bits_f32, float_f32 = _cast(types.float32, types.uint32), _cast(types.uint32, types.float32)
bits_f64, float_f64 = _cast(types.float64, types.uint64), _cast(types.uint64, types.float64)


@intrinsic
def _pointer(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


# ---- b) points


def _philox() -> Callable[..., Any]:
    """Four words of a block, each in a uint64. Rounds are written out: no loop that holds a loop is vectorised."""
    lines = [
        "def philox(k0, k1, tag, block):",
        "    a, b = U64(k0), U64(k1)",
        "    c0, c1, c2, c3 = block & LOW, block >> HALF, U64(tag), U64(0)",
    ]
    for i in range(10):
        lines.append("    p0, p1 = c0 * M0, c2 * M1")
        first, second = (f"(({key} + W{j} * U64({i})) & LOW)" for j, key in enumerate("ab"))
        lines.append(f"    n0, n2 = (p1 >> HALF) ^ c1 ^ {first}, (p0 >> HALF) ^ c3 ^ {second}")
        lines.append("    c0, c1, c2, c3 = n0, p1 & LOW, n2, p0 & LOW")
    lines.append("    return c0, c1, c2, c3")
    space = {"U64": U64, "M0": U64(0xD2511F53), "M1": U64(0xCD9E8D57), "W0": U64(0x9E3779B9), "W1": U64(0xBB67AE85)}
    space |= {"LOW": U64(0xFFFFFFFF), "HALF": U64(32)}
    exec("\n".join(lines), space)
    return point(space["philox"])  # type: ignore  # what exec defined


philox = _philox()


# Coefficients as constants of the arithmetic type: LLVM sees numbers, not loads.
LOG_F32, SIN_F32, COS_F32 = (tuple(map(F32, t)) for t in (C.LOG_F32, C.SIN_F32, C.COS_F32))
QUANTILE0_F32, QUANTILE1_F32 = (tuple(map(F32, t)) for t in (C.QUANTILE0_F32, C.QUANTILE1_F32))
TWO_LN2_F32, SPLIT_F32 = F32(C.TWO_LN2_F32[0]), F32(C.QUANTILE_SPLIT_F32[0])
SHIFT0_F32, SHIFT1_F32 = map(F32, C.QUANTILE_SHIFT_F32)
HALF_F32, ONE_F32 = F32(0.5), F32(1)
TWO_24, TWO_31, TWO_32 = F32(2.0**-24), F32(2.0**-31), F32(2.0**32)


def _horner(coefficients: tuple[Any, ...], x: str, name: str) -> str:
    """Nested source of a polynomial over a tuple's entries: ((c2 * x + c1) * x + c0)."""
    last = len(coefficients) - 1
    source = f"{name}[{last}]"
    for i in range(last - 1, -1, -1):
        source = f"({source} * {x} + {name}[{i}])"
    return source


def _polynomial(coefficients: tuple[Any, ...]) -> Callable[[Any], Any]:
    """A compiled polynomial, lowest coefficient first, unrolled."""
    space = {"c": coefficients}
    exec(f"def polynomial(x):\n    return {_horner(coefficients, 'x', 'c')}", space)
    return point(space["polynomial"])  # type: ignore  # what exec defined


def _even_odd(coefficients: tuple[Any, ...]) -> Callable[[Any], Any]:
    """The same as its even part and x times its odd part, each in x squared."""
    even, odd = _polynomial(coefficients[0::2]), _polynomial(coefficients[1::2])

    @point
    def polynomial(x):
        square = x * x
        return even(square) + odd(square) * x

    return polynomial


log_f32, quantile0_f32, quantile1_f32 = map(_even_odd, (LOG_F32, QUANTILE0_F32, QUANTILE1_F32))
sin_f32, cos_f32 = map(_polynomial, (SIN_F32, COS_F32))
log_f64 = _even_odd(C.LOG_F64)
sin_f64, cos_f64 = map(_polynomial, (C.SIN_F64, C.COS_F64))
top0, top1, top2 = map(_polynomial, (C.QUANTILE0_TOP_F64, C.QUANTILE1_TOP_F64, C.QUANTILE2_TOP_F64))
bottom0, bottom1, bottom2 = map(_polynomial, (C.QUANTILE0_BOTTOM_F64, C.QUANTILE1_BOTTOM_F64, C.QUANTILE2_BOTTOM_F64))
LN2_HIGH, LN2_LOW = C.TWO_LN2_F64
SPLIT0, SPLIT1 = C.QUANTILE_SPLIT_F64
SHIFT0, SHIFT1, SHIFT2 = C.QUANTILE_SHIFT_F64


@point
def neg2log_f32(f, e):
    return f * log_f32(f) + e * TWO_LN2_F32


@point
def neg2log_word(a):
    """-2 ln((a + 1/2) 2^-32); the upper half of the words by their complement."""
    upper = a >> U32(31) != U32(0)
    folded = U32(a ^ U32(0xFFFFFFFF)) if upper else a
    bits = bits_f32(F32(I32(folded)) + HALF_F32)
    f_lower = float_f32(U32((bits & U32(0x007FFFFF)) | U32(0x3F000000))) - ONE_F32
    f_upper = float_f32(U32(bits + U32(0x70000000)))
    e = I32(0) if upper else I32(158) - I32(bits >> U32(23))
    return neg2log_f32(f_upper if upper else f_lower, F32(e))


@point
def normal_pair(a, b):
    r = F32(math.sqrt(neg2log_word(a)))
    sign = U32(U32(b + U32(0x40000000)) & U32(0x80000000))
    y = F32(I32(U32(b << U32(1)))) * TWO_31
    square = y * y
    r = float_f32(U32(bits_f32(r) ^ sign))
    return r * cos_f32(square), r * (y * sin_f32(square))


@point
def quantile(t, far):
    """The z >= 0 with Phi(-z) = t, t in (0, 1/2]; unless `far`, no s is above the split."""
    tiny = t < F32(2.0**-126)
    bits = bits_f32(t * TWO_32 if tiny else t)
    f = float_f32(U32((bits & U32(0x007FFFFF)) | U32(0x3F000000))) - ONE_F32
    e = I32(126) - I32(bits >> U32(23)) + (I32(32) if tiny else I32(0))
    s = F32(math.sqrt(neg2log_f32(f, F32(e))))
    near = quantile0_f32(s - SHIFT0_F32)
    if far:
        other = quantile1_f32(s - SHIFT1_F32)
        near = other if s > SPLIT_F32 else near
    return near


@point
def truncated_point(n, low, high, below, above, step, threshold, far):
    left = n < threshold
    m = F32(I32(n if left else U32(0xFFFFFF) - n)) + HALF_F32
    q = quantile((below if left else above) + m * step, far)
    z = -q if left else q
    z = low if z < low else z
    return high if z > high else z


@point
def uniform_point(w, low, span, cap):
    v = low + span * (F32(I32(w >> U32(8))) * TWO_24)
    return v if v < cap else cap


@point
def int52(k):
    return float_f64(k | U64(0x4330000000000000)) - 4503599627370496.0


@point
def int53(k):
    high = float_f64(k >> U64(32) | U64(0x4530000000000000)) - 19342813113834066795298816.0
    return high + int52(k & U64(0xFFFFFFFF))


@point
def neg2log_f64(f, e):
    return e * LN2_HIGH + (f * log_f64(f) + e * LN2_LOW)


@point
def neg2log_k53(k):
    upper = k >> U64(52) != U64(0)
    folded = (~k if upper else k) & U64(0x000FFFFFFFFFFFFF)
    bits = bits_f64(int52(folded) + 0.5)
    f_lower = float_f64((bits & U64(0x000FFFFFFFFFFFFF)) | U64(0x3FE0000000000000)) - 1.0
    f_upper = float_f64(bits + U64(0x7CB0000000000000))
    e = U64(0) if upper else U64(1075) - (bits >> U64(52))
    return neg2log_f64(f_upper if upper else f_lower, int52(e))


@point
def normal_pair_f64(a, b):
    sign = (b + U64(0x0008000000000000)) << U64(11) & U64(0x8000000000000000)
    turned = (b & U64(0x000FFFFFFFFFFFFF)) ^ U64(0x0008000000000000)
    y = (float_f64(turned | U64(0x4330000000000000)) - 6755399441055744.0) * 2.0**-51
    r = float_f64(bits_f64(math.sqrt(neg2log_k53(a))) ^ sign)
    square = y * y
    return r * cos_f64(square), r * (y * sin_f64(square))


@point
def quantile_f64(t, far):
    bits = bits_f64(t)
    f = float_f64((bits & U64(0x000FFFFFFFFFFFFF)) | U64(0x3FE0000000000000)) - 1.0
    s = math.sqrt(neg2log_f64(f, int52(U64(1022) - (bits >> U64(52)))))
    x = s - SHIFT0
    top, bottom = top0(x), bottom0(x)
    if far:  # all three, and two choices: vectors have no other way
        x = s - SHIFT1
        other_top, other_bottom = top1(x), bottom1(x)
        top, bottom = (other_top if s > SPLIT0 else top), (other_bottom if s > SPLIT0 else bottom)
        x = s - SHIFT2
        other_top, other_bottom = top2(x), bottom2(x)
        top, bottom = (other_top if s > SPLIT1 else top), (other_bottom if s > SPLIT1 else bottom)
    return top / bottom


@point
def truncated_point_f64(k, low, high, below, above, step, threshold, far):
    left = k < threshold
    m = int53(k if left else U64(0x1FFFFFFFFFFFFF) - k) + 0.5
    q = quantile_f64((below if left else above) + m * step, far)
    z = -q if left else q
    z = low if z < low else z
    return high if z > high else z


@point
def uniform_point_f64(k, low, span, cap):
    v = low + span * (int53(k) * 2.0**-53)
    return v if v < cap else cap


@point
def k53(first, second):
    return (second << U64(32) | first) >> U64(11)


# ---- c) values: blocks [block, block + blocks) of a law into v, 4 values of float32 or 2 of float64 a block


def _truncated(far: bool) -> tuple[Any, Any]:
    """The loops of the truncated laws; far cuts need more polynomials."""

    @compiled
    def single(k0, k1, block, blocks, v, mean, std, low, high, below, above, step, threshold):
        for i in range(blocks):
            w0, w1, w2, w3 = philox(k0, k1, 0, block + U64(i))
            z0 = truncated_point(U32(w0 >> U64(8)), low, high, below, above, step, threshold, far)
            z1 = truncated_point(U32(w1 >> U64(8)), low, high, below, above, step, threshold, far)
            z2 = truncated_point(U32(w2 >> U64(8)), low, high, below, above, step, threshold, far)
            z3 = truncated_point(U32(w3 >> U64(8)), low, high, below, above, step, threshold, far)
            v[4 * i] = mean + std * z0
            v[4 * i + 1] = mean + std * z1
            v[4 * i + 2] = mean + std * z2
            v[4 * i + 3] = mean + std * z3

    @compiled
    def double(k0, k1, block, blocks, v, mean, std, low, high, below, above, step, threshold):
        for i in range(blocks):
            w0, w1, w2, w3 = philox(k0, k1, 0, block + U64(i))
            z0 = truncated_point_f64(k53(w0, w1), low, high, below, above, step, threshold, far)
            z1 = truncated_point_f64(k53(w2, w3), low, high, below, above, step, threshold, far)
            v[2 * i] = mean + std * z0
            v[2 * i + 1] = mean + std * z1

    return single, double


(near_f32, near_f64), (far_f32, far_f64) = _truncated(False), _truncated(True)


@compiled
def values_f32(law, k0, k1, block, blocks, v, p):
    if law == 0:
        v[: 4 * blocks] = F32(p[0])
    elif law == 1:
        low, span, cap = F32(p[0]), F32(p[1]), F32(p[2])
        for i in range(blocks):
            w0, w1, w2, w3 = philox(k0, k1, 0, block + U64(i))
            v[4 * i] = uniform_point(U32(w0), low, span, cap)
            v[4 * i + 1] = uniform_point(U32(w1), low, span, cap)
            v[4 * i + 2] = uniform_point(U32(w2), low, span, cap)
            v[4 * i + 3] = uniform_point(U32(w3), low, span, cap)
    elif law == 2:
        mean, std = F32(p[0]), F32(p[1])
        for i in range(blocks):
            w0, w1, w2, w3 = philox(k0, k1, 0, block + U64(i))
            z0, z1 = normal_pair(U32(w0), U32(w1))
            z2, z3 = normal_pair(U32(w2), U32(w3))
            v[4 * i] = mean + std * z0
            v[4 * i + 1] = mean + std * z1
            v[4 * i + 2] = mean + std * z2
            v[4 * i + 3] = mean + std * z3
    else:
        mean, std, low, high = F32(p[0]), F32(p[1]), F32(p[2]), F32(p[3])
        below, above, step, threshold = F32(p[4]), F32(p[5]), F32(p[6]), U32(p[7])
        if p[8] != 0:
            far_f32(k0, k1, block, blocks, v, mean, std, low, high, below, above, step, threshold)
        else:
            near_f32(k0, k1, block, blocks, v, mean, std, low, high, below, above, step, threshold)


@compiled
def values_f64(law, k0, k1, block, blocks, v, p):
    if law == 0:
        v[: 2 * blocks] = p[0]
    elif law == 1:
        for i in range(blocks):
            w0, w1, w2, w3 = philox(k0, k1, 0, block + U64(i))
            v[2 * i] = uniform_point_f64(k53(w0, w1), p[0], p[1], p[2])
            v[2 * i + 1] = uniform_point_f64(k53(w2, w3), p[0], p[1], p[2])
    elif law == 2:
        for i in range(blocks):
            w0, w1, w2, w3 = philox(k0, k1, 0, block + U64(i))
            z0, z1 = normal_pair_f64(k53(w0, w1), k53(w2, w3))
            v[2 * i] = p[0] + p[1] * z0
            v[2 * i + 1] = p[0] + p[1] * z1
    else:
        if p[8] != 0:
            far_f64(k0, k1, block, blocks, v, p[0], p[1], p[2], p[3], p[4], p[5], p[6], U64(p[7]))
        else:
            near_f64(k0, k1, block, blocks, v, p[0], p[1], p[2], p[3], p[4], p[5], p[6], U64(p[7]))


@compiled
def words_range(k0, k1, tag, lo, dest):
    lane = lo & U64(3)
    block = lo >> U64(2)
    done = 0
    while done < dest.size:
        w = philox(k0, k1, tag, block)
        for i in range(4):
            if U64(i) >= lane and done < dest.size:
                dest[done] = U32(w[i])
                done += 1
        lane = U64(0)
        block += U64(1)


# ---- d) emit


@point
def round_bf16(x):
    u = bits_f32(x)
    near = U32(u + U32(0x7FFF) + (u >> U32(16) & U32(1))) >> U32(16)
    quiet = u >> U32(16) | U32(0x40)
    return U16(quiet if (u & U32(0x7FFFFFFF)) > U32(0x7F800000) else near)


@point
def widen_bf16(h):
    return float_f32(U32(U32(h) << U32(16)))


@point
def round_f16(x):
    u = bits_f32(x)
    sign, mag = u >> U32(16) & U32(0x8000), U32(u & U32(0x7FFFFFFF))
    normal = (U32(mag + U32(0x0FFF) + (mag >> U32(13) & U32(1))) >> U32(13)) - U32(112 << 10)
    subnormal = bits_f32(float_f32(mag) + HALF_F32) - U32(0x3F000000)
    h = sign | (subnormal if mag < U32(0x38800000) else normal)
    h = sign | U32(0x7C00) if mag >= U32(0x477FF000) else h
    h = sign | U32(0x7E00) | (mag >> U32(13) & U32(0x3FF)) if mag > U32(0x7F800000) else h
    return U16(h)


@point
def widen_f16(h):
    mag, sign = U32(h) & U32(0x7FFF), U32(U32(U32(h) & U32(0x8000)) << U32(16))
    subnormal = bits_f32(F32(I32(mag)) * TWO_24)
    normal = (mag << U32(13)) + U32(112 << 23)
    u = subnormal if mag < U32(0x0400) else U32(normal)
    u = U32((mag << U32(13)) | U32(0x7F800000)) if mag >= U32(0x7C00) else u
    return float_f32(U32(sign | u))


@compiled
def emit_f32(v, skip, count, address, stride, dtype, adding, scale):
    """Write v[skip : skip + count] to float32 (0), float16 (2) or bfloat16 (3), `stride` bytes apart."""
    scale, from_ = F32(scale), v[skip : skip + count]
    if dtype == 0 and stride == 4:
        near = carray(_pointer(address), (count,), F32)
        if adding:
            for j in range(count):
                near[j] = near[j] + scale * from_[j]
        else:
            for j in range(count):
                near[j] = from_[j]
    elif dtype == 0:
        for j in range(count):
            to = carray(_pointer(address + j * stride), (1,), F32)
            to[0] = to[0] + scale * from_[j] if adding else from_[j]
    elif stride == 2 and not adding:
        words = carray(_pointer(address), (count,), U16)
        if dtype == 2:
            for j in range(count):
                words[j] = round_f16(from_[j])
        else:
            for j in range(count):
                words[j] = round_bf16(from_[j])
    elif dtype == 2:
        for j in range(count):
            half = carray(_pointer(address + j * stride), (1,), U16)
            half[0] = round_f16(widen_f16(half[0]) + scale * from_[j] if adding else from_[j])
    else:
        for j in range(count):
            half = carray(_pointer(address + j * stride), (1,), U16)
            half[0] = round_bf16(widen_bf16(half[0]) + scale * from_[j] if adding else from_[j])


@compiled
def emit_f64(v, skip, count, address, stride, dtype, adding, scale):
    from_ = v[skip : skip + count]
    if stride == 8:
        near = carray(_pointer(address), (count,), F64)
        if adding:
            for j in range(count):
                near[j] = near[j] + scale * from_[j]
        else:
            for j in range(count):
                near[j] = from_[j]
    else:
        for j in range(count):
            to = carray(_pointer(address + j * stride), (1,), F64)
            to[0] = to[0] + scale * from_[j] if adding else from_[j]


# ---- e) Fill


def _filler(values: Any, emit: Any, kind: type, per_block: int, itemsize: int) -> Any:
    def fill(law, k0, k1, p, dtype, start, lo, hi, shape, stride, step, address, adding, scale):
        # Positions lo..hi of the destination, in row-major order, run by run: an odometer over its axes.
        last = shape.size - 1
        where = np.zeros(shape.size, np.int64)
        v: Any = np.empty(CHUNK, kind)
        length, rest, flat = shape[last], lo, U64(start)
        column = rest % length
        rest //= length
        for axis in range(last - 1, -1, -1):
            where[axis] = rest % shape[axis]
            rest //= shape[axis]
            flat += U64(where[axis]) * U64(step[axis])
            address += where[axis] * stride[axis]
        size = stride[last]
        while True:
            count = min(length - column, hi - lo)
            first, to = flat + U64(column), address + column * size
            left = count
            while left > 0:
                skip = I64(first % U64(per_block))
                part = min(left, CHUNK - skip)
                blocks = (skip + part + per_block - 1) // per_block
                if skip == 0 and part % per_block == 0 and not adding and size == itemsize and dtype < 2:
                    values(law, k0, k1, first // U64(per_block), blocks, carray(_pointer(to), (part,), kind), p)
                else:
                    values(law, k0, k1, first // U64(per_block), blocks, v, p)
                    emit(v, skip, part, to, size, dtype, adding, scale)
                first += U64(part)
                to += part * size
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

    return njit(nogil=True, error_model="numpy")(fill)


fill_f32 = _filler(values_f32, emit_f32, F32, 4, 4)
fill_f64 = _filler(values_f64, emit_f64, F64, 2, 8)


def words(isa: str, key: tuple[int, int], tag: int, lo: int, dest: np.ndarray) -> None:
    """Write words lo, lo + 1, ... of the stream (key, tag) to dest."""
    words_range(U32(key[0]), U32(key[1]), U32(tag), U64(lo), dest)


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
        shape, strides, walk = (np.array(column, np.int64) for column in zip(*merged, strict=True))
        self.dest, self.size = dest, dest.size
        self.kernel = fill_f64 if dtype == 1 else fill_f32
        self.before = (law, U32(key[0]), U32(key[1]), p, dtype, U64(start))
        self.after = (shape, strides, walk, dest.ctypes.data, scale is not None, float(scale or 0.0))

    def run(self, lo: int, hi: int) -> None:
        """Fill positions lo..hi of the destination, in its row-major order."""
        if lo < hi:
            with default_float_mode():
                self.kernel(*self.before, lo, hi, *self.after)


# ---- f) dense


@point
def logistic(x):
    t = math.exp(-abs(x))
    return (t if x < 0 else 1.0) / (1.0 + t)


@point
def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@point
def gelu_argument(x):
    held = min(max(x, -64.0), 64.0)
    return GELU_SLOPE * (held + GELU_CUBE * held * held * held)


@point
def cdf(x):
    return 0.5 * math.erfc(-x * 0.7071067811865476)


@point
def value_of(code, x, p):
    if code == 0:
        return x
    if code == 1:
        return logistic(x)
    if code == 2:
        return math.tanh(x)
    if code == 3:
        return 0.0 if x < 0 else x
    if code == 4:
        return p * x if x < 0 else x
    if code == 5:
        return x if x > 0 else p * math.expm1(x)
    if code == 6:
        return SELU_SCALE * (x if x > 0 else SELU_ALPHA * math.expm1(x))
    if code == 7:
        return softplus(x)
    if code == 8:
        return x * cdf(x)
    if code == 9:
        return x * logistic(gelu_argument(x))
    if code == 10:
        return x * logistic(x)
    return x * math.tanh(softplus(x))


@point
def slope_of(code, x, p):
    """Tell the derivative by the input of gelu, gelu_tanh, silu and mish, the output of others (p: slope_number)."""
    if code == 0:
        return 1.0
    if code == 1:
        return x * (1.0 - x)
    if code == 2:
        return (1.0 - x) * (1.0 + x)
    if code == 3:
        return 1.0 if x > 0 else 0.0
    if code == 4:
        return 1.0 if x > 0 else p
    if code == 5:
        return 1.0 if x > 0 else x + p
    if code == 6:
        return SELU_SCALE if x > 0 else x + p
    if code == 7:
        return -math.expm1(-x)
    if code == 8:
        return cdf(x) + x * (0.3989422804014327 * math.exp(-0.5 * x * x))
    if code == 9:
        held = min(max(x, -64.0), 64.0)
        u = gelu_argument(x)
        s = logistic(u)
        return s + held * s * logistic(-u) * (GELU_SLOPE * (1.0 + 3.0 * GELU_CUBE * held * held))
    if code == 10:
        return logistic(x) * (1.0 + x * logistic(-x))
    t = math.tanh(softplus(x))
    return t + x * (1.0 - t * t) * logistic(x)


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


Sparse = reference.Sparse  # positions and values at scattered indices in NumPy; the bits are the same


class Sampled(reference.Sampled):
    """Weights of a stream as an operand, drawn whole by this engine."""

    def array(self) -> np.ndarray:
        dest = np.empty(self.whole, (F32, F64)[self.spec[2]])
        Fill(*self.spec, dest, 0, (self.whole[1], 1)).run(0, dest.size)
        return dest.T if self.transposed else dest


NO_BITS, NO_SUMS = np.empty((0, 0), np.uint8), np.empty((0, 0))


class Gradient(reference.Gradient):
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
        self.number = reference.slope_number(activation, param, grad.dtype.type)

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


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """The fused multiply-add a b + c."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return c(c, c, c), generate


@compiled
def chain(a, b, c, add):
    """C = A B or C + A B: fused multiply-adds over k ascending in blocks of 384, block sums added in order."""
    m, n, depth = c.shape[0], c.shape[1], a.shape[1]
    sums = np.empty(n, c.dtype)
    for i in range(m):
        for start in range(0, depth, 384):
            sums[:] = 0
            for k in range(start, min(depth, start + 384)):
                factor = a[i, k]
                for j in range(n):
                    sums[j] = fma(factor, b[k, j], sums[j])
            for j in range(n):
                c[i, j] = c[i, j] + sums[j] if add or start > 0 else sums[j]


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


class Product(reference.Product):
    """C = A B and what follows it."""

    @staticmethod
    def chain(a: np.ndarray, b: np.ndarray, c: np.ndarray, add: bool) -> None:
        chain(a, b, c, add)

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
            reference.slope_number(self.code, self.param, self.c.dtype.type),
            self.kept if self.row.kept == BIT else NO_BITS,
            none if self.row.kept == BIT or self.kept is None else self.kept,
            NO_SUMS if self.moments is None else self.moments,
            self.saturated,
        )


@compiled
def activate_all(code, p, given, to, slope):
    for i in range(to.size):
        x = F64(given[i])
        to[i] = to[i] * to.dtype.type(slope_of(code, x, p)) if slope else to.dtype.type(value_of(code, x, p))


def activate(isa: str, activation: int, param: float, src: Any, dest: Any, wide: bool, derive: bool) -> None:
    """Write f of numbers given as bytes to dest; with derive, multiply dest by f'."""
    kind = F64 if wide else F32
    param = reference.slope_number(activation, param, kind) if derive else param
    activate_all(activation, param, np.frombuffer(src, kind), np.frombuffer(dest, kind), derive)
