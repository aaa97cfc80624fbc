"""The kernel contract in Numba: the same operations in the same order, so the same bits, compiled when first used.

a) bits      floats as integers and back, addresses as pointers
b) points    Philox and the transforms of approx.h, one element, pair or block
c) words     whole blocks of the stream, in element order or as planes of pairs                 -> L1 buffer
d) values    a law's transform over words, one loop and one compiled function each, when first used
e) emit      values to their destination: rounded, strided, added
f) Fill      boxes to runs, in one call without the GIL
g) Sparse    inputs of units, and normals at scattered elements
h) dense     NumPy's matmul, with what precedes and follows it fused into one sweep each

No fastmath: LLVM then contracts and reorders nothing. Loops are plain and over arrays that LLVM vectorises; words and
values are two loops, as in sample.h, since one of both holds more than the registers do. A destination is given by its
address, as the compiled kernels take it, so that strides may be anything. docs/streams.md defines the bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

try:
    from llvmlite import ir
    from numba import carray, cfunc, config, njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic
except ImportError:
    raise ImportError(
        "engine 'numba' needs the package numba, which is not installed: pip install 'winit[numba]'"
    ) from None

if config.DISABLE_JIT:
    raise ImportError(
        "engine 'numba' and winit.jit are compiled by Numba, and NUMBA_DISABLE_JIT=1 has turned its compiler off"
    )

from winit._kernels import LAWS, default_float_mode
from winit._kernels import coefficients as C  # noqa: N812
from winit._kernels import numpy_engine as reference
from winit._kernels.activation_rows import BIT, GELU_CUBE, GELU_SLOPE, SELU_ALPHA, SELU_SCALE
from winit._kernels.numpy_dense import slope_number

__all__ = ["Fill", "Gradient", "Product", "Sampled", "Sparse", "activate", "reflectors", "triangle", "words"]

F32, F64, I32, I64, U16, U32, U64 = np.float32, np.float64, np.int32, np.int64, np.uint16, np.uint32, np.uint64
CHUNK = 2048  # values in the first-level cache between transform and destination

# All said here, since what is not is taken from the caller for whom a function is compiled: fastmath would change bits.
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": False, "boundscheck": False}

Function = TypeVar("Function", bound=Callable[..., Any])


def _kept(made: Callable[[bool], Any]) -> Any:
    """Keep what is compiled on disk where there is a place for it.

    The cache is keyed by processor, and by the time and size of this file. What it takes from other files are
    constants: the coefficients, frozen with the stream, and those of selu and gelu_tanh.
    """
    try:
        return made(True)
    except RuntimeError:  # no directory that can be written
        return made(False)


def compiled(function: Function) -> Function:
    """Compile without the GIL."""
    return _kept(lambda keep: njit(cache=keep, **OPTIONS)(function))


def point(function: Function) -> Function:
    """Compile as part of what calls it: copied in before LLVM looks for loops to vectorise, and finds no calls."""
    return njit(inline="always", **OPTIONS)(function)


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
    """Four words of a block, each the low half of a uint64: what the high halves hold is the caller's to drop.

    Rounds are written out: no loop that holds a loop is vectorised. The product of low halves is one instruction.
    """
    lines = ["def philox(k0, k1, c0, c1, c2, c3):", "    a, b = U64(k0), U64(k1)"]
    for i in range(10):
        lines.append("    p0, p1 = (c0 & LOW) * M0, (c2 & LOW) * M1")
        first, second = (f"(({key} + W{j} * U64({i})) & LOW)" for j, key in enumerate("ab"))
        lines.append(f"    c0, c2 = (p1 >> HALF) ^ c1 ^ {first}, (p0 >> HALF) ^ c3 ^ {second}")
        lines.append("    c1, c3 = p1, p0")
    lines.append("    return c0, c1, c2, c3")
    space = {"U64": U64, "M0": U64(0xD2511F53), "M1": U64(0xCD9E8D57), "W0": U64(0x9E3779B9), "W1": U64(0xBB67AE85)}
    space |= {"LOW": LOW, "HALF": HALF}
    exec("\n".join(lines), space)
    return point(space["philox"])  # type: ignore  # what exec defined


LOW, HALF = U64(0xFFFFFFFF), U64(32)
philox = _philox()


@point
def block_of(key, block):
    """The four words of block number `block` of a key's values."""
    w0, w1, w2, w3 = philox(key[0], key[1], block & LOW, block >> HALF, U64(0), U64(0))
    return U32(w0), U32(w1), U32(w2), U32(w3)


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
    upper = U32(U32(0) - (a >> U32(31)))
    bits = bits_f32(F32(I32(a ^ upper)) + HALF_F32)
    f_lower = bits_f32(float_f32(U32((bits & U32(0x007FFFFF)) | U32(0x3F000000))) - ONE_F32)
    f_upper = U32(bits + U32(0x70000000))
    f = float_f32(U32((f_upper & upper) | (f_lower & ~upper)))
    e = I32(U32(U32(158) - (bits >> U32(23))) & ~upper)
    return neg2log_f32(f, F32(e))


@point
def normal_pair(a, b):
    r = F32(math.sqrt(neg2log_word(a)))
    sign = U32(U32(b + U32(0x40000000)) & U32(0x80000000))
    y = F32(I32(U32(b << U32(1)))) * TWO_31
    square = y * y
    r = float_f32(U32(bits_f32(r) ^ sign))
    return r * cos_f32(square), r * (y * sin_f32(square))


@point
def truncated_root(n, below, above, step, threshold, far):
    """sqrt(-2 ln t) of the t in (0, 1/2] of an element; unless `far`, t is a normal number."""
    t = (below if n < threshold else above) + (
        F32(I32(n if n < threshold else U32(U32(0xFFFFFF) - n))) + HALF_F32
    ) * step
    e = U32(126)
    if far:
        e = U32(158) if t < F32(2.0**-126) else e
        t = t * TWO_32 if t < F32(2.0**-126) else t
    bits = bits_f32(t)
    f = float_f32(U32((bits & U32(0x007FFFFF)) | U32(0x3F000000))) - ONE_F32
    return F32(math.sqrt(neg2log_f32(f, F32(I32(U32(e - (bits >> U32(23))))))))


@point
def truncated_of_root(s, n, low, high, threshold, far):
    """The z of that root: Phi(-|z|) = t, held to the cuts; unless `far`, no root is above the split."""
    q = quantile0_f32(s - SHIFT0_F32)
    if far:
        other = quantile1_f32(s - SHIFT1_F32)
        q = other if s > SPLIT_F32 else q
    z = -q if n < threshold else q
    z = low if z < low else z
    return high if z > high else z


@point
def truncated_point(n, low, high, below, above, step, threshold, far):
    return truncated_of_root(truncated_root(n, below, above, step, threshold, far), n, low, high, threshold, far)


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
def truncated_root_f64(k, below, above, step, threshold):
    left = k < threshold
    t = (below if left else above) + (int53(k if left else U64(0x1FFFFFFFFFFFFF) - k) + 0.5) * step
    bits = bits_f64(t)
    f = float_f64((bits & U64(0x000FFFFFFFFFFFFF)) | U64(0x3FE0000000000000)) - 1.0
    return math.sqrt(neg2log_f64(f, int52(U64(1022) - (bits >> U64(52)))))


@point
def truncated_of_root_f64(s, k, low, high, threshold, far):
    x = s - SHIFT0
    top, bottom = top0(x), bottom0(x)
    if far:  # all three, and two choices: vectors have no other way
        x = s - SHIFT1
        other_top, other_bottom = top1(x), bottom1(x)
        top, bottom = (other_top if s > SPLIT0 else top), (other_bottom if s > SPLIT0 else bottom)
        x = s - SHIFT2
        other_top, other_bottom = top2(x), bottom2(x)
        top, bottom = (other_top if s > SPLIT1 else top), (other_bottom if s > SPLIT1 else bottom)
    q = top / bottom
    z = -q if k < threshold else q
    z = low if z < low else z
    return high if z > high else z


@point
def truncated_point_f64(k, low, high, below, above, step, threshold, far):
    return truncated_of_root_f64(truncated_root_f64(k, below, above, step, threshold), k, low, high, threshold, far)


@point
def uniform_point_f64(k, low, span, cap):
    v = low + span * (int53(k) * 2.0**-53)
    return v if v < cap else cap


# ---- c) words: blocks block, block + 1, ... under one high counter word, two words to a uint64. What the blocks share,
# half of the products of the first two rounds among it, LLVM takes out of the loops.


@point
def pack(first, second, half=HALF):
    return (first & LOW) | second << half


@point
def half_of(block):
    """32, since no block reaches 2^62. LLVM does not know, and so shifts the product that it has.

    By a constant, it would multiply once more, by a factor of 64 bits: 4% of the loop.
    """
    return HALF + (block >> U64(62))


@compiled
def in_order(k0, k1, tag, block, blocks, w):
    half = half_of(block)
    for i in range(blocks):
        w0, w1, w2, w3 = philox(k0, k1, (block & LOW) + U64(i), block >> HALF, U64(tag), U64(0))
        w[2 * i] = pack(w0, w1, half)
        w[2 * i + 1] = pack(w2, w3, half)


@compiled
def planes_32(k0, k1, block, blocks, first, second):
    """Of the pairs (a, b) of words all a, and all b."""
    half = half_of(block)
    for i in range(blocks):
        w0, w1, w2, w3 = philox(k0, k1, (block & LOW) + U64(i), block >> HALF, U64(0), U64(0))
        first[i] = pack(w0, w2, half)
        second[i] = pack(w1, w3, half)


@compiled
def planes_64(k0, k1, block, blocks, first, second):
    """Of the pairs (a, b) of 64 bits all a, and all b."""
    half = half_of(block)
    for i in range(blocks):
        w0, w1, w2, w3 = philox(k0, k1, (block & LOW) + U64(i), block >> HALF, U64(0), U64(0))
        first[i] = pack(w0, w1, half)
        second[i] = pack(w2, w3, half)


@compiled
def words_range(k0, k1, tag, lo, dest):
    buffer = np.empty(CHUNK // 2, U64)
    from_ = buffer.view(U32)
    done = 0
    while done < dest.size:
        skip, block = I64(lo & U64(3)), lo >> U64(2)
        blocks = min((dest.size - done + skip + 3) // 4, CHUNK // 4, I64(U64(1 << 32) - (block & LOW)))
        in_order(k0, k1, tag, block, blocks, buffer)
        count = min(dest.size - done, 4 * blocks - skip)
        source, target = from_[skip : skip + count], dest[done : done + count]
        for j in range(count):
            target[j] = source[j]
        done += count
        lo += U64(count)


# ---- d) values: blocks block, block + 1, ... of a law, all under one high counter word, to an address: 4 values of
# float32 or 2 of float64 a block. `scratch` is the address of room for its words, `at` of its numbers. Each is compiled
# when it is first called for.


@point
def arrays_f32(blocks, scratch, to, at):
    """Its words, its values and its law's numbers."""
    return (
        carray(_pointer(scratch), (2 * blocks,), U64),
        carray(_pointer(scratch), (4 * blocks,), U32),
        carray(_pointer(to), (4 * blocks,), F32),
        carray(_pointer(at), (9,), F64),
    )


@point
def arrays_f64(blocks, scratch, to, at):
    return (
        carray(_pointer(scratch), (2 * blocks,), U64),
        carray(_pointer(to), (2 * blocks,), F64),
        carray(_pointer(at), (9,), F64),
    )


def constant_f32(k0, k1, block, blocks, scratch, to, at):
    _, _, v, p = arrays_f32(blocks, scratch, to, at)
    v[:] = F32(p[0])


def uniform_f32(k0, k1, block, blocks, scratch, to, at):
    w, words, v, p = arrays_f32(blocks, scratch, to, at)
    in_order(k0, k1, U32(0), block, blocks, w)
    low, span, cap = F32(p[0]), F32(p[1]), F32(p[2])
    for j in range(4 * blocks):
        v[j] = uniform_point(words[j], low, span, cap)


def normal_f32(k0, k1, block, blocks, scratch, to, at):
    w, words, v, p = arrays_f32(blocks, scratch, to, at)
    planes_32(k0, k1, block, blocks, w[:blocks], w[blocks:])
    first, second = words[: 2 * blocks], words[2 * blocks :]
    mean, std = F32(p[0]), F32(p[1])
    for j in range(2 * blocks):
        z0, z1 = normal_pair(first[j], second[j])
        v[2 * j] = mean + std * z0
        v[2 * j + 1] = mean + std * z1


@point
def truncated_f32(k0, k1, block, blocks, scratch, to, at, far):
    w, words, v, p = arrays_f32(blocks, scratch, to, at)
    in_order(k0, k1, U32(0), block, blocks, w)
    mean, std, low, high = F32(p[0]), F32(p[1]), F32(p[2]), F32(p[3])
    below, above, step, threshold = F32(p[4]), F32(p[5]), F32(p[6]), U32(p[7])
    for j in range(4 * blocks):
        v[j] = truncated_root(words[j] >> U32(8), below, above, step, threshold, far)
    for j in range(4 * blocks):
        v[j] = mean + std * truncated_of_root(v[j], words[j] >> U32(8), low, high, threshold, far)


def truncated_near_f32(k0, k1, block, blocks, scratch, to, at):
    truncated_f32(k0, k1, block, blocks, scratch, to, at, False)


def truncated_far_f32(k0, k1, block, blocks, scratch, to, at):
    truncated_f32(k0, k1, block, blocks, scratch, to, at, True)


def constant_f64(k0, k1, block, blocks, scratch, to, at):
    _, v, p = arrays_f64(blocks, scratch, to, at)
    v[:] = p[0]


def uniform_f64(k0, k1, block, blocks, scratch, to, at):
    w, v, p = arrays_f64(blocks, scratch, to, at)
    in_order(k0, k1, U32(0), block, blocks, w)
    low, span, cap = p[0], p[1], p[2]
    for j in range(2 * blocks):
        v[j] = uniform_point_f64(w[j] >> U64(11), low, span, cap)


def normal_f64(k0, k1, block, blocks, scratch, to, at):
    w, v, p = arrays_f64(blocks, scratch, to, at)
    first, second = w[:blocks], w[blocks:]
    planes_64(k0, k1, block, blocks, first, second)
    mean, std = p[0], p[1]
    for j in range(blocks):
        z0, z1 = normal_pair_f64(first[j] >> U64(11), second[j] >> U64(11))
        v[2 * j] = mean + std * z0
        v[2 * j + 1] = mean + std * z1


@point
def truncated_f64(k0, k1, block, blocks, scratch, to, at, far):
    w, v, p = arrays_f64(blocks, scratch, to, at)
    in_order(k0, k1, U32(0), block, blocks, w)
    mean, std, low, high, below, above, step, threshold = p[0], p[1], p[2], p[3], p[4], p[5], p[6], U64(p[7])
    for j in range(2 * blocks):
        v[j] = truncated_root_f64(w[j] >> U64(11), below, above, step, threshold)
    for j in range(2 * blocks):
        v[j] = mean + std * truncated_of_root_f64(v[j], w[j] >> U64(11), low, high, threshold, far)


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
    return _kept(lambda keep: cfunc(VALUES_TYPE, cache=keep, **OPTIONS)(VALUES[name].py_func)).address


@intrinsic
def call_values(typing_context: Any, address: Any, *arguments: Any) -> Any:
    """Call a function of VALUES by its address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = [context.get_value_type(kind) for kind in VALUES_TYPE.args]
        pointer = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        builder.call(builder.inttoptr(arguments[0], pointer), cgutils.unpack_tuple(builder, arguments[1]))
        return context.get_dummy_value()

    return types.void(types.int64, types.Tuple(VALUES_TYPE.args)), generate


# ---- e) emit


@point
def round_finite_bf16(x):
    u = bits_f32(x)
    return U16(U32(U32(u + U32(0x7FFF)) + (u >> U32(16) & U32(1))) >> U32(16))


@point
def round_bf16(x):
    u = bits_f32(x)
    quiet = U16(u >> U32(16) | U32(0x40))
    return quiet if U32(u & U32(0x7FFFFFFF)) > U32(0x7F800000) else round_finite_bf16(x)


@point
def widen_bf16(h):
    return float_f32(U32(U32(h) << U32(16)))


@point
def round_finite_f16(x):
    u = bits_f32(x)
    sign, mag = u >> U32(16) & U32(0x8000), U32(u & U32(0x7FFFFFFF))
    normal = U32((U32(U32(mag + U32(0x0FFF)) + (mag >> U32(13) & U32(1))) >> U32(13)) - U32(112 << 10))
    subnormal = U32(bits_f32(float_f32(mag) + HALF_F32) - U32(0x3F000000))
    return U16(sign | (subnormal if mag < U32(0x38800000) else normal))


@point
def round_f16(x):
    u = bits_f32(x)
    sign, mag = u >> U32(16) & U32(0x8000), U32(u & U32(0x7FFFFFFF))
    h = round_finite_f16(x)
    h = U16(sign | U32(0x7C00)) if mag >= U32(0x477FF000) else h
    return U16(sign | U32(0x7E00) | (mag >> U32(13) & U32(0x3FF))) if mag > U32(0x7F800000) else h


@point
def widen_f16(h):
    mag, sign = U32(h) & U32(0x7FFF), U32(U32(U32(h) & U32(0x8000)) << U32(16))
    subnormal = bits_f32(F32(I32(mag)) * TWO_24)
    normal = U32(U32(mag << U32(13)) + U32(112 << 23))
    u = subnormal if mag < U32(0x0400) else normal
    u = U32(U32(mag << U32(13)) | U32(0x7F800000)) if mag >= U32(0x7C00) else u
    return float_f32(U32(sign | u))


@compiled
def emit_f32(v, address, dtype, adding, scale):
    """Write v to float32 (0), float16 (2) or bfloat16 (3) side by side."""
    count, scale = v.size, F32(scale)
    if dtype == 0:
        near = carray(_pointer(address), (count,), F32)
        if adding:
            for j in range(count):
                near[j] = near[j] + scale * v[j]
        else:
            for j in range(count):
                near[j] = v[j]
        return
    words = carray(_pointer(address), (count,), U16)
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
    near = carray(_pointer(address), (v.size,), F64)
    if adding:
        for j in range(v.size):
            near[j] = near[j] + scale * v[j]
    else:
        for j in range(v.size):
            near[j] = v[j]


@compiled
def move(to, to_stride, from_, from_stride, count, size):
    """Copy elements of 2, 4 or 8 bytes between addresses."""
    for j in range(count):
        source, target = _pointer(from_ + j * from_stride), _pointer(to + j * to_stride)
        if size == 2:
            carray(target, (1,), U16)[0] = carray(source, (1,), U16)[0]
        elif size == 4:
            carray(target, (1,), U32)[0] = carray(source, (1,), U32)[0]
        else:
            carray(target, (1,), U64)[0] = carray(source, (1,), U64)[0]


# ---- f) Fill


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
        axes = np.array(merged, np.int64)
        self.dest, self.size = dest, dest.size
        name = LAWS[law] if law < 3 else "truncated_far" if p[8] else "truncated_near"
        values = address_of(f"{name}_f{64 if dtype == 1 else 32}")
        self.before = (values, U32(key[0]), U32(key[1]), p, dtype, dest.itemsize, U64(start))
        address = dest.__array_interface__["data"][0]
        self.after = (axes, address, scale is not None, float(scale or 0.0))

    def run(self, lo: int, hi: int) -> None:
        """Fill positions lo..hi of the destination, in its row-major order."""
        if lo < hi:
            with default_float_mode():
                fill(*self.before, lo, hi, *self.after)


# ---- g) Sparse

AT_ONCE = 256  # connections whose values are made in one loop
FEW = 32  # inputs of a unit that are looked through for each other; of more, each of all that there are has a flag


@compiled
def normals_at(k0, k1, flat, p, v):
    """Write mean + std z of a normal tensor at any elements, to float32 or float64."""
    if v.itemsize == 4:
        mean, std = F32(p[0]), F32(p[1])
        for j in range(flat.size):
            i = flat[j]
            w0, w1, w2, w3 = philox(k0, k1, i >> U64(2) & LOW, i >> U64(34), U64(0), U64(0))
            upper = i & U64(2) != U64(0)
            z0, z1 = normal_pair(U32(w2 if upper else w0), U32(w3 if upper else w1))
            v[j] = mean + std * (z1 if i & U64(1) != U64(0) else z0)
    else:
        for j in range(flat.size):
            i = flat[j]
            w0, w1, w2, w3 = philox(k0, k1, i >> U64(1) & LOW, i >> U64(33), U64(0), U64(0))
            z0, z1 = normal_pair_f64(pack(w0, w1) >> U64(11), pack(w2, w3) >> U64(11))
            v[j] = p[0] + p[1] * (z1 if i & U64(1) != U64(0) else z0)


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


@compiled
def scatter(v, to, dtype, adding, scale):
    for j in range(v.size):
        near = _pointer(to[j])
        if dtype == 0:
            one = carray(near, (1,), F32)
            one[0] = one[0] + F32(scale) * F32(v[j]) if adding else F32(v[j])
        elif dtype == 1:
            two = carray(near, (1,), F64)
            two[0] = two[0] + scale * v[j] if adding else v[j]
        elif dtype == 2:
            half = carray(near, (1,), U16)
            half[0] = round_f16(widen_f16(half[0]) + F32(scale) * F32(v[j]) if adding else F32(v[j]))
        else:
            half = carray(near, (1,), U16)
            half[0] = round_bf16(widen_bf16(half[0]) + F32(scale) * F32(v[j]) if adding else F32(v[j]))


@compiled
def connect(k0, k1, p, dtype, v, axes, keep, first, last, lo, count, address, adding, scale):
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
        words_range(k0, k1, U32(1), U64(unit) * U64(keep), words)
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
                    normals_at(k0, k1, flat, p, v)
                    scatter(v, to, dtype, adding, scale)
                    held = 0
    normals_at(k0, k1, flat[:held], p, v[:held])
    scatter(v[:held], to[:held], dtype, adding, scale)


@compiled
def connected(k0, k1, p, inputs, keep, first, last, unit_step, input_step, places, v):
    """Write the inputs of units first..last, ascending, and the values there."""
    found, words = np.empty(keep, np.int64), np.empty(keep, U32)
    taken = np.zeros(inputs if keep > FEW else 0, np.bool_)
    flat, done = np.empty(keep, U64), 0
    for unit in range(first, last):
        words_range(k0, k1, U32(1), U64(unit) * U64(keep), words)
        pick(words, inputs, found, taken)
        found.sort()
        for i in range(keep):
            places[done + i] = found[i]
            flat[i] = U64(unit) * U64(unit_step) + U64(found[i]) * U64(input_step)
        normals_at(k0, k1, flat, p, v[done : done + keep])
        done += keep


class Sparse(reference.Sparse):
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
            connect(
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
                float(self.scale or 0.0),
            )

    def rows(self, first: int, last: int, unit_step: int, input_step: int, inputs: np.ndarray, to: np.ndarray) -> None:
        """Write the inputs of units first..last, ascending, and the values there."""
        count = int(np.prod(self.extents[1], dtype=np.int64))
        key = U32(self.key[0]), U32(self.key[1])
        with default_float_mode():
            connected(
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


# ---- h) dense


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
        self.number = slope_number(activation, param, grad.dtype.type)

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
        chain(a, np.ascontiguousarray(b), c, add)

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
            slope_number(self.code, self.param, self.c.dtype.type),
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
    param = slope_number(activation, param, kind) if derive else param
    activate_all(activation, param, np.frombuffer(src, kind), np.frombuffer(dest, kind), derive)
