"""The stream inside the user's own Numba code: words, elements and fills, callable in nopython mode and in prange.

A key is made outside, from seed and name; inside, an element is a function of (key, index) alone, so loops may be cut
and threaded at will. Values are those of winit.draw, to the bit, whatever the caller's fastmath; in a floating-point
mode other than the default (subnormals flushed to zero, another rounding) they are not. Numba keeps a caller that is
compiled with cache=True until the caller's own file changes, with the winit that it was compiled with.

>>> import numba, numpy as np, winit, winit.jit
>>> @numba.njit(parallel=True)
... def noise(out, key):
...     for i in numba.prange(out.size):
...         out[i] = winit.jit.normal_at(key, i)
>>> out = np.empty(1000, np.float32)
>>> noise(out, winit.jit.key(0, "w"))
>>> bool((out == winit.draw(winit.normal(), 1000, seed=0, name="w")).all())
True

"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

try:
    from numba import njit, typeof, types
    from numba.core.errors import TypingError
    from numba.extending import intrinsic, overload
except ImportError:
    raise ImportError("winit.jit needs the package numba, which is not installed: pip install 'winit[numba]'") from None

from winit._core import laws
from winit._core.checks import check_integer, check_number, integer_of, shown
from winit._core.dtypes import LARGEST
from winit._core.keys import stream_key
from winit._kernels import numba_engine as kernels

__all__ = [
    "cut",
    "fill_normal",
    "fill_normal_bf16",
    "fill_normal_f8e4m3",
    "fill_normal_f8e5m2",
    "fill_normal_f16",
    "fill_truncated_normal",
    "fill_uniform",
    "fill_with",
    "key",
    "normal64_at",
    "normal_at",
    "philox4x32",
    "truncated_normal64_at",
    "truncated_normal_at",
    "uniform64_at",
    "uniform_at",
    "word_at",
]

F32, F64, I64, U32, U64 = np.float32, np.float64, np.int64, np.uint32, np.uint64
BLOCKS = 512  # of the stream, between transform and destination: their words and values stay in the first-level cache
LARGEST_F32, LARGEST_F64, LARGEST_F16, LARGEST_BF16, LARGEST_F8E4M3, LARGEST_F8E5M2 = (
    LARGEST[k] for k in ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
)
REACH_F32, REACH_F64 = 6.77, 8.66  # the largest |z| of a normal

OPTIONS = kernels.OPTIONS

Key = tuple[np.uint32, np.uint32]
Cut = tuple[np.floating[Any], ...]


def key(seed: int, name: str = "") -> Key:
    """Return the key of a tensor's stream, as compiled code takes it: two uint32.

    Parameters
    ----------
    seed : int, 0 <= seed < 2^64.
    name : str. The tensor's name.

    Returns
    -------
    tuple of two numpy.uint32.

    Raises
    ------
    TypeError, ValueError : as winit.draw.

    >>> tuple(map(int, key(0, "w")))
    (1016155470, 3311402690)

    """
    first, second = stream_key(seed, name)
    return U32(first), U32(second)


def cut(low: float = -2.0, high: float = 2.0, dtype: str = "float32") -> Cut:
    """Return what truncated_normal_at and fill_truncated_normal need to know of two cuts, worked out once.

    Parameters
    ----------
    low, high : float, low < high, in units of std.
    dtype : "float32" or "float64": that of the values.

    Returns
    -------
    tuple of seven numbers of dtype: low and high as rounded to it, the masses below, above and between them, and how to
    take the quantile.

    Raises
    ------
    TypeError, ValueError : as winit.truncated_normal; another dtype.

    >>> tuple(map(float, cut()[:2]))
    (-2.0, 2.0)

    """
    numbers = laws.cut(low, high, dtype)
    return tuple(map(F32 if dtype == "float32" else F64, numbers))


# ---- one element. Each is compiled on its own, without fastmath, and copied into what calls it by LLVM, so that loops
# over elements are vectorised as far as they can be: copies by Numba, made before types are known, would be compiled
# with the caller's fastmath. A normal has its mean added, 0, which makes -0 the 0 that winit.draw gives.

element = njit(forceinline=True, **OPTIONS)
ZERO = F32(0.0)


def _checked(target: Any, fits: Any, message: str) -> Any:
    """Pass on an argument, as `target` where that is a type; what is checked is its type, when it is compiled."""

    def typed(typing_context: Any, given: Any) -> Any:
        if not fits(given):
            raise TypingError(message.format(given))

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return context.cast(builder, arguments[0], signature.args[0], signature.return_type)

        return (target or given)(given), generate

    return intrinsic(typed)


def _is_key(given: Any) -> bool:
    return isinstance(given, types.UniTuple) and given.count == 2 and isinstance(given.dtype, types.Integer)


def _is_cut(kind: Any) -> Any:
    return lambda given: given == types.UniTuple(kind, 7)


_index = _checked(types.uint64, lambda given: isinstance(given, types.Integer), "i must be an integer, not {}")
_key = _checked(None, _is_key, "key must be that of winit.jit.key, not {}")
_cut_f32 = _checked(None, _is_cut(types.float32), "cut of truncated_normal_at must be winit.jit.cut(low, high), not {}")
_cut_f64 = _checked(
    None, _is_cut(types.float64), "cut of truncated_normal64_at must be winit.jit.cut(low, high, 'float64'), not {}"
)


@element
def philox4x32(counter, key):
    """Return the four words of a counter under a key.

    Parameters
    ----------
    counter : four uint32. The stream's block b of tag t is (b mod 2^32, b >> 32, t, 0).
    key : two uint32.

    Returns
    -------
    tuple of four uint32.

    Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3": Philox4x32-10.

    >>> [f"{word:08x}" for word in philox4x32((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']

    """
    w0, w1, w2, w3 = kernels.philox(key[0], key[1], U64(counter[0]), U64(counter[1]), U64(counter[2]), U64(counter[3]))
    return U32(w0), U32(w1), U32(w2), U32(w3)


@element
def word_at(key, i):
    """Return word i of a key's values, as winit.words does.

    Parameters
    ----------
    key : as of winit.jit.key.
    i : integer, 0 <= i < 2^64; here and below only its type is checked: more would cost more than the word.

    Returns
    -------
    uint32.

    >>> [int(word_at(key(0), i)) for i in range(4)]
    [1052217790, 1776054751, 678293519, 3874122687]

    """
    i = _index(i)
    w0, w1, w2, w3 = kernels.block_of(_key(key), i >> U64(2))
    low = w1 if i & U64(1) else w0
    high = w3 if i & U64(1) else w2
    return U32(high if i & U64(2) else low)


@element
def _integers_of(key, i):
    """The 53-bit integers of element i and its partner, the even one first."""
    i = _index(i)
    w0, w1, w2, w3 = kernels.block_of(_key(key), i >> U64(1))
    return kernels.pack(U64(w0), U64(w1)) >> U64(11), kernels.pack(U64(w2), U64(w3)) >> U64(11)


@element
def _integer_at(key, i):
    i = _index(i)
    first, second = _integers_of(key, i)
    return second if i & U64(1) else first


@element
def uniform_at(key, i):
    """Return element i of winit.uniform(0, 1) in float32, in [0, 1): (w >> 8) 2^-24 of its word w.

    >>> import winit
    >>> bool(uniform_at(key(0), 2) == winit.draw(winit.uniform(), 3, seed=0)[2])
    True

    """
    return F32(F32(kernels.I32(word_at(key, i) >> U32(8))) * F32(2.0**-24))


@element
def uniform64_at(key, i):
    """Return element i of winit.uniform(0, 1) in float64, in [0, 1): k 2^-53 of its 53-bit integer k.

    >>> import winit
    >>> bool(uniform64_at(key(0), 2) == winit.draw(winit.uniform(), 3, seed=0, dtype="float64")[2])
    True

    """
    return kernels.int53(_integer_at(key, i)) * 2.0**-53


@element
def normal_at(key, i):
    """Return element i of winit.normal(0, 1) in float32; mean + std times it is that of winit.normal(mean, std).

    >>> import winit
    >>> bool(normal_at(key(0), 2) == winit.draw(winit.normal(), 3, seed=0)[2])
    True

    """
    i = _index(i)
    w0, w1, w2, w3 = kernels.block_of(_key(key), i >> U64(2))
    upper = (i & U64(2)) != U64(0)
    z0, z1 = kernels.normal_pair(U32(w2 if upper else w0), U32(w3 if upper else w1))
    return ZERO + (z1 if i & U64(1) else z0)


@element
def normal64_at(key, i):
    """Return element i of winit.normal(0, 1) in float64.

    >>> import winit
    >>> bool(normal64_at(key(0), 2) == winit.draw(winit.normal(), 3, seed=0, dtype="float64")[2])
    True

    """
    i = _index(i)
    first, second = _integers_of(key, i)
    z0, z1 = kernels.normal_pair_f64(first, second)
    return 0.0 + (z1 if i & U64(1) else z0)


@element
def truncated_normal_at(key, i, cut):
    """Return element i of winit.truncated_normal(0, 1, low, high) in float32; `cut` is winit.jit.cut(low, high).

    >>> import winit
    >>> bool(truncated_normal_at(key(0), 2, cut()) == winit.draw(winit.truncated_normal(), 3, seed=0)[2])
    True

    """
    low, high, below, above, step, threshold, _ = _cut_f32(cut)
    n = U32(word_at(key, i) >> U32(8))
    z = kernels.truncated_point(n, F32(low), F32(high), F32(below), F32(above), F32(step), U32(threshold), True)
    return ZERO + z


@element
def truncated_normal64_at(key, i, cut):
    """Return element i of winit.truncated_normal(0, 1, low, high) in float64; `cut` is that of this dtype.

    >>> import winit
    >>> z = truncated_normal64_at(key(0), 2, cut(dtype="float64"))
    >>> bool(z == winit.draw(winit.truncated_normal(), 3, seed=0, dtype="float64")[2])
    True

    """
    low, high, below, above, step, threshold, _ = _cut_f64(cut)
    return 0.0 + kernels.truncated_point_f64(_integer_at(key, i), low, high, below, above, step, U64(threshold), True)


# ---- many: whole blocks to a buffer in the first-level cache, and from it to out. Each function has a body for
# nopython code, and a door for Python, which checks out and takes the body compiled: a compiled function with defaults
# would take 30 us a call.

REALS, WORDS, BYTES = (np.float32, np.float64), (np.uint16,), (np.uint8,)
BEYOND = "out must end at element 2^63 or before, as the largest tensor does"


def _check(out: Any, what: str, kinds: tuple[Any, ...], key: Any, lo: Any) -> int:
    """Check what Python gives; return lo as an int."""
    if not isinstance(out, np.ndarray) or out.ndim != 1 or out.dtype not in kinds or not out.flags.writeable:
        given = type(out).__name__
        if isinstance(out, np.ndarray):
            given = f"{'one' if out.flags.writeable else 'a read-only one'} of {out.dtype} and shape {out.shape}"
        raise TypeError(f"out of {what} must be a writable array of one axis of {_names(kinds)}, not {given}")
    if type(key) is not tuple or len(key) != 2 or type(key[0]) is not U32 or type(key[1]) is not U32:
        _check_key(key)
    if type(lo) is not int or lo < 0:
        lo = check_integer(lo, "lo", 0, None)
    if lo + out.size > 1 << 63:
        raise ValueError(BEYOND)
    return lo


def _check_key(key: Any) -> None:
    """Check a key that is not as winit.jit.key makes it: two words in integers of any kind do."""
    words = [integer_of(word) for word in key] if type(key) is tuple else []
    if len(words) != 2 or any(word is None or not 0 <= word < 1 << 32 for word in words):
        raise TypeError(f"key must be that of winit.jit.key, not {shown(key)}")


def _check_type(out: Any, what: str, kinds: tuple[Any, ...], key: Any, lo: Any) -> None:
    """Check types in nopython code."""
    fits = isinstance(out, types.Array) and out.ndim == 1 and out.mutable and out.aligned
    if not fits or out.dtype not in [getattr(types, kind.__name__) for kind in kinds]:
        raise TypingError(f"out of {what} must be a writable array of one axis of {_names(kinds)}, not {out}")
    if not _is_key(key):
        raise TypingError(f"key must be that of winit.jit.key, not {key}")
    if not isinstance(lo, types.Integer):
        raise TypingError(f"lo must be an integer, not {lo}")


def _is_compiled(fn: Any) -> bool:
    try:
        return callable(fn) and isinstance(typeof(fn), types.Callable)
    except (TypeError, ValueError):  # Numba's word for what it has no type for
        return False


def _names(kinds: tuple[Any, ...]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


def _filler(law: str, double: bool, rounding: Any, near: bool = False) -> Any:
    """Compile the loop that fills out with elements lo, lo + 1, ... of a law with kernel numbers p.

    near: out's elements are side by side and take the values as they are, so that whole blocks need no buffer.
    """
    kind, per = (F64, 2) if double else (F32, 4)
    values = kernels.VALUES[f"{law}_f{64 if double else 32}"]

    def fill(out, key, lo, p):
        if lo < 0:
            raise ValueError("lo must not be negative")
        if U64(lo) > U64(1 << 63) - U64(out.size):
            raise ValueError(BEYOND)
        first, done = U64(lo), 0
        scratch, buffer = np.empty(2 * BLOCKS, U64), np.empty(per * BLOCKS, kind)
        while done < out.size:
            block, skip = first // U64(per), I64(first % U64(per))
            blocks = min((out.size - done + skip + per - 1) // per, BLOCKS, I64(U64(1 << 32) - (block & kernels.LOW)))
            count = min(out.size - done, per * blocks - skip)
            target = out[done : done + count]
            if near and count == per * blocks:
                values(key[0], key[1], block, blocks, scratch.ctypes.data, target.ctypes.data, p.ctypes.data)
            else:
                values(key[0], key[1], block, blocks, scratch.ctypes.data, buffer.ctypes.data, p.ctypes.data)
                source = buffer[skip : skip + count]
                for j in range(count):
                    target[j] = rounding(source[j])
            first += U64(count)
            done += count

    return njit(**OPTIONS)(fill)


@element
def _as_it_is(x):
    return x


def _fill_of(law: str) -> Any:
    """A function for nopython code that fills float32 or float64."""

    def fill(out, key, lo, p):
        """Stand for the overload below."""

    @overload(fill, jit_options=OPTIONS)
    def of_type(out, key, lo, p):
        loop = _filler(law, out.dtype == types.float64, _as_it_is, out.layout == "C")
        return lambda out, key, lo, p: loop(out, key, lo, p)

    return fill


fill_uniform_values, fill_normal_values, fill_near_values, fill_far_values = map(
    _fill_of, ("uniform", "normal", "truncated_near", "truncated_far")
)
fill_f16_values = _filler("normal", False, kernels.round_finite_f16)
fill_bf16_values = _filler("normal", False, kernels.round_finite_bf16)
fill_f8e4m3_values = _filler("normal", False, kernels.round_finite_f8e4m3)
fill_f8e5m2_values = _filler("normal", False, kernels.round_finite_f8e5m2)


@element
def _scaled(mean, std, reach, largest):
    """The numbers of a law that scales values of at most `reach`."""
    if not (std >= 0 and abs(mean) + reach * std <= largest):  # what is not a number fails
        raise ValueError("std must not be negative, and no value beyond the range of out's type")
    p = np.zeros(9)
    p[0], p[1] = mean, std
    return p


@element
def _largest(out):
    return F64(LARGEST_F32) if out.itemsize == 4 else LARGEST_F64


def _uniform(out, key, lo, low=0.0, high=1.0):
    ends, p = np.empty(3, out.dtype), np.zeros(9)
    ends[0], ends[1] = low, high
    ends[2] = F64(ends[1]) - F64(ends[0])
    if not (ends[0] < ends[1] and F64(ends[2]) <= _largest(out)):
        raise ValueError("low must be below high, and no value beyond the range of out's type")
    p[0], p[1], p[2] = ends[0], ends[2], np.nextafter(ends[1], F32(-np.inf))
    fill_uniform_values(out, key, lo, p)


def _normal(out, key, lo, mean=0.0, std=1.0):
    reach = REACH_F32 if out.itemsize == 4 else REACH_F64
    fill_normal_values(out, key, lo, _scaled(mean, std, reach, _largest(out)))


def _truncated_normal(out, key, lo, cut, mean=0.0, std=1.0):
    low, high, largest = F64(cut[0]), F64(cut[1]), _largest(out)
    tail = 34.7 if out.itemsize == 4 else 75.0  # as in winit._core.laws.TruncatedNormal
    reach = min(math.sqrt(max(low, -high, 0.0) ** 2 + tail), max(abs(low), abs(high)))
    within = max(abs(mean + std * low), abs(mean + std * high)) <= largest  # cuts on one side bring values near to 0
    p = _scaled(0.0 if within else mean, std, reach, largest)
    p[0] = mean
    for j in range(7):
        p[2 + j] = cut[j]
    if cut[6] != 0:
        fill_far_values(out, key, lo, p)
    else:
        fill_near_values(out, key, lo, p)


def _half_f16(out, key, lo, mean=0.0, std=1.0):
    fill_f16_values(out, key, lo, _scaled(mean, std, REACH_F32, LARGEST_F16))


def _half_bf16(out, key, lo, mean=0.0, std=1.0):
    fill_bf16_values(out, key, lo, _scaled(mean, std, REACH_F32, LARGEST_BF16))


def _bytes_f8e4m3(out, key, lo, mean=0.0, std=1.0):
    fill_f8e4m3_values(out, key, lo, _scaled(mean, std, REACH_F32, LARGEST_F8E4M3))


def _bytes_f8e5m2(out, key, lo, mean=0.0, std=1.0):
    fill_f8e5m2_values(out, key, lo, _scaled(mean, std, REACH_F32, LARGEST_F8E5M2))


uniform_loop, normal_loop, truncated_normal_loop, f16_loop, bf16_loop, f8e4m3_loop, f8e5m2_loop = (
    njit(**OPTIONS)(body)
    for body in (_uniform, _normal, _truncated_normal, _half_f16, _half_bf16, _bytes_f8e4m3, _bytes_f8e5m2)
)


def fill_uniform(out: np.ndarray, key: Key, lo: int, low: float = 0.0, high: float = 1.0) -> None:
    """Fill out with elements lo, lo + 1, ... of winit.uniform(low, high).

    Parameters
    ----------
    out : array of one axis, float32 or float64, any stride.
    key : as of winit.jit.key.
    lo : integer, 0 <= lo, lo + out.size <= 2^63.
    low, high : float, low < high as rounded to out's type, and the span within its range.

    Raises
    ------
    TypeError, numba.TypingError in nopython code : another out, another key, a lo that is no integer.
    ValueError : lo out of its range, another range.

    >>> import winit
    >>> out = np.empty(3)
    >>> fill_uniform(out, key(0), 7, -1, 1)
    >>> bool((out == winit.draw(winit.uniform(-1, 1), 10, seed=0, dtype="float64")[7:]).all())
    True

    """
    lo = _check(out, "fill_uniform", REALS, key, lo)
    uniform_loop(out, key, lo, check_number(low, "low"), check_number(high, "high"))


@overload(fill_uniform, jit_options=OPTIONS)
def _uniform_inside(out, key, lo, low=0.0, high=1.0):
    _check_type(out, "fill_uniform", REALS, key, lo)
    return _uniform


def fill_normal(out: np.ndarray, key: Key, lo: int, mean: float = 0.0, std: float = 1.0) -> None:
    """Fill out with elements lo, lo + 1, ... of winit.normal(mean, std).

    Parameters
    ----------
    out : array of one axis, float32 or float64, any stride. For narrower types: fill_normal_f16
        and its like.
    key : as of winit.jit.key.
    lo : integer, 0 <= lo, lo + out.size <= 2^63.
    mean, std : float, 0 <= std.

    Raises
    ------
    TypeError, numba.TypingError in nopython code : another out, another key, a lo that is no integer.
    ValueError : lo out of its range, std negative, values beyond the range of out's type.

    >>> import winit
    >>> out = np.empty(3, np.float32)
    >>> fill_normal(out, key(0), 7, 0, 0.02)
    >>> bool((out == winit.draw(winit.normal(0, 0.02), 10, seed=0)[7:]).all())
    True

    """
    lo = _check(out, "fill_normal", REALS, key, lo)
    normal_loop(out, key, lo, check_number(mean, "mean"), check_number(std, "std"))


@overload(fill_normal, jit_options=OPTIONS)
def _normal_inside(out, key, lo, mean=0.0, std=1.0):
    _check_type(out, "fill_normal", REALS, key, lo)
    return _normal


def fill_truncated_normal(out: np.ndarray, key: Key, lo: int, cut: Cut, mean: float = 0.0, std: float = 1.0) -> None:
    """Fill out with elements lo, lo + 1, ... of winit.truncated_normal(mean, std, low, high).

    Parameters
    ----------
    cut : what winit.jit.cut(low, high, dtype) returns, dtype being out's.
    out, key, lo, mean, std : as of fill_normal.

    Raises
    ------
    TypeError, numba.TypingError, ValueError : as fill_normal.

    >>> import winit
    >>> out = np.empty(3, np.float32)
    >>> fill_truncated_normal(out, key(0), 7, cut(-1, 3))
    >>> bool((out == winit.draw(winit.truncated_normal(low=-1, high=3), 10, seed=0)[7:]).all())
    True

    """
    lo = _check(out, "fill_truncated_normal", REALS, key, lo)
    if not isinstance(cut, tuple) or len(cut) != 7 or any(type(number) is not out.dtype.type for number in cut):
        raise TypeError(
            f"cut must be winit.jit.cut(low, high, '{out.dtype}') for an out of {out.dtype}, not {shown(cut)}"
        )
    truncated_normal_loop(out, key, lo, cut, check_number(mean, "mean"), check_number(std, "std"))


@overload(fill_truncated_normal, jit_options=OPTIONS)
def _truncated_normal_inside(out, key, lo, cut, mean=0.0, std=1.0):
    _check_type(out, "fill_truncated_normal", REALS, key, lo)
    if cut != types.UniTuple(out.dtype, 7):
        raise TypingError(f"cut must be winit.jit.cut(low, high, '{out.dtype}') for an out of {out.dtype}, not {cut}")
    return _truncated_normal


def fill_normal_f16(out: np.ndarray, key: Key, lo: int, mean: float = 0.0, std: float = 1.0) -> None:
    """Fill out, the words of float16, with elements lo, lo + 1, ... of winit.normal(mean, std).

    Parameters
    ----------
    out : array of one axis, uint16: Numba has no half types, so pass out.view(numpy.uint16).
    key, lo, mean, std : as of fill_normal.

    Raises
    ------
    TypeError, numba.TypingError, ValueError : as fill_normal.

    >>> import winit
    >>> out = np.empty(3, np.float16)
    >>> fill_normal_f16(out.view(np.uint16), key(0), 7)
    >>> bool((out == winit.draw(winit.normal(), 10, seed=0, dtype="float16")[7:]).all())
    True

    """
    lo = _check(out, "fill_normal_f16", WORDS, key, lo)
    f16_loop(out, key, lo, check_number(mean, "mean"), check_number(std, "std"))


@overload(fill_normal_f16, jit_options=OPTIONS)
def _f16_inside(out, key, lo, mean=0.0, std=1.0):
    _check_type(out, "fill_normal_f16", WORDS, key, lo)
    return _half_f16


def fill_normal_bf16(out: np.ndarray, key: Key, lo: int, mean: float = 0.0, std: float = 1.0) -> None:
    """Fill out, the words of bfloat16, with elements lo, lo + 1, ... of winit.normal(mean, std).

    Parameters
    ----------
    out : array of one axis, uint16: the words, as of ml_dtypes.bfloat16 by out.view(numpy.uint16).
    key, lo, mean, std : as of fill_normal.

    Raises
    ------
    TypeError, numba.TypingError, ValueError : as fill_normal.

    >>> import winit
    >>> out = np.empty(3, np.uint16)
    >>> fill_normal_bf16(out, key(0), 7)
    >>> bool((out == winit.draw(winit.normal(), 10, seed=0, dtype="bfloat16")[7:].view(np.uint16)).all())
    True

    """
    lo = _check(out, "fill_normal_bf16", WORDS, key, lo)
    bf16_loop(out, key, lo, check_number(mean, "mean"), check_number(std, "std"))


@overload(fill_normal_bf16, jit_options=OPTIONS)
def _bf16_inside(out, key, lo, mean=0.0, std=1.0):
    _check_type(out, "fill_normal_bf16", WORDS, key, lo)
    return _half_bf16


def fill_normal_f8e4m3(out: np.ndarray, key: Key, lo: int, mean: float = 0.0, std: float = 1.0) -> None:
    """Fill out, the bytes of float8_e4m3fn, with elements lo, lo + 1, ... of winit.normal(mean, std).

    Parameters
    ----------
    out : array of one axis, uint8: the bytes, as of ml_dtypes.float8_e4m3fn by out.view(numpy.uint8).
    key, lo, mean, std : as of fill_normal.

    Raises
    ------
    TypeError, numba.TypingError, ValueError : as fill_normal.

    >>> import winit
    >>> out = np.empty(3, np.uint8)
    >>> fill_normal_f8e4m3(out, key(0), 7)
    >>> bool((out == winit.draw(winit.normal(), 10, seed=0, dtype="float8_e4m3fn")[7:].view(np.uint8)).all())
    True

    """
    lo = _check(out, "fill_normal_f8e4m3", BYTES, key, lo)
    f8e4m3_loop(out, key, lo, check_number(mean, "mean"), check_number(std, "std"))


@overload(fill_normal_f8e4m3, jit_options=OPTIONS)
def _f8e4m3_inside(out, key, lo, mean=0.0, std=1.0):
    _check_type(out, "fill_normal_f8e4m3", BYTES, key, lo)
    return _bytes_f8e4m3


def fill_normal_f8e5m2(out: np.ndarray, key: Key, lo: int, mean: float = 0.0, std: float = 1.0) -> None:
    """Fill out, the bytes of float8_e5m2, with elements lo, lo + 1, ... of winit.normal(mean, std).

    Parameters
    ----------
    out : array of one axis, uint8: the bytes, as of ml_dtypes.float8_e5m2 by out.view(numpy.uint8).
    key, lo, mean, std : as of fill_normal.

    Raises
    ------
    TypeError, numba.TypingError, ValueError : as fill_normal.

    >>> import winit
    >>> out = np.empty(3, np.uint8)
    >>> fill_normal_f8e5m2(out, key(0), 7)
    >>> bool((out == winit.draw(winit.normal(), 10, seed=0, dtype="float8_e5m2")[7:].view(np.uint8)).all())
    True

    """
    lo = _check(out, "fill_normal_f8e5m2", BYTES, key, lo)
    f8e5m2_loop(out, key, lo, check_number(mean, "mean"), check_number(std, "std"))


@overload(fill_normal_f8e5m2, jit_options=OPTIONS)
def _f8e5m2_inside(out, key, lo, mean=0.0, std=1.0):
    _check_type(out, "fill_normal_f8e5m2", BYTES, key, lo)
    return _bytes_f8e5m2


# ---- the caller's own distribution


@element
def _of_word(w):
    return (F64(kernels.I64(w)) + 0.5) * 2.0**-32


@element
def _of_integer(k):
    return (kernels.int52(k >> U64(1)) + 0.5) * 2.0**-52


def _with(double: bool, raw: bool) -> Any:
    number = _as_it_is if raw else _of_integer if double else _of_word
    kind, per, shift = (U64, 2, U64(11)) if double else (U32, 4, U32(0))

    def fill(out, fn, key, lo, raw=False):
        if lo < 0:
            raise ValueError("lo must not be negative")
        if U64(lo) > U64(1 << 63) - U64(out.size):
            raise ValueError(BEYOND)
        first, done = U64(lo), 0
        words = np.empty(2 * BLOCKS, U64)
        numbers = words.view(kind)
        while done < out.size:
            block, skip = first // U64(per), I64(first % U64(per))
            blocks = min((out.size - done + skip + per - 1) // per, BLOCKS, I64(U64(1 << 32) - (block & kernels.LOW)))
            count = min(out.size - done, per * blocks - skip)
            kernels.in_order(key[0], key[1], U32(0), block, blocks, words)
            source, target = numbers[skip : skip + count], out[done : done + count]
            for j in range(count):
                target[j] = fn(number(kind(source[j] >> shift)))
            first += U64(count)
            done += count

    return fill


def fill_with(out: np.ndarray, fn: Any, key: Key, lo: int, raw: bool = False) -> None:
    """Fill out with fn of one uniform number of each of elements lo, lo + 1, ...: a distribution of the caller's own.

    The number is a float64 u in (0, 1), never 0 or 1: (w + 1/2) 2^-32 of the element's word w where out is float32,
    (k + 1/2) 2^-52 of the upper 52 of its 64 bits where it is float64. An element is a function of (key, index), as of
    every law here; its bits are those of fn, and of the mathematical functions that fn calls.

    Parameters
    ----------
    out : array of one axis, float32 or float64, any stride.
    fn : compiled function of one number that returns one: an inverse distribution function, for one.
    key : as of winit.jit.key.
    lo : integer, 0 <= lo, lo + out.size <= 2^63.
    raw : bool, in nopython code a literal. True: fn takes the word w itself (uint32), or the upper 53 of an element's
        64 bits (uint64) where out is float64.

    Raises
    ------
    TypeError, numba.TypingError in nopython code : another out, another key, a lo that is no integer, a raw that is not
        a bool.
    numba.TypingError : an fn that cannot be compiled. ValueError : lo out of its range. What fn raises, with the
        elements before it written.

    >>> import math
    >>> @njit
    ... def exponential(u):
    ...     return -math.log(u)
    >>> out = np.empty(100_000)
    >>> fill_with(out, exponential, key(0, "gaps"), 0)
    >>> bool(abs(out.mean() - 1) < 0.02)
    True

    """
    lo = _check(out, "fill_with", REALS, key, lo)
    if not isinstance(raw, bool):
        raise TypeError(f"raw must be True or False, not {shown(raw)}")
    if not _is_compiled(fn):
        raise TypeError(f"fn must be a function compiled by Numba, such as numba.njit makes, not {shown(fn)}")
    (with_raw_loop if raw else with_uniform_loop)(out, fn, key, lo)


@overload(fill_with, prefer_literal=True, jit_options=OPTIONS)
def _with_inside(out, fn, key, lo, raw=False):
    _check_type(out, "fill_with", REALS, key, lo)
    given = getattr(raw, "literal_value", getattr(raw, "value", raw))
    if not isinstance(given, bool):
        raise TypingError("raw of fill_with must be True or False, written where it is called")
    return _with(out.dtype == types.float64, given)


@njit(**OPTIONS)
def with_uniform_loop(out, fn, key, lo):
    fill_with(out, fn, key, lo)


@njit(**OPTIONS)
def with_raw_loop(out, fn, key, lo):
    fill_with(out, fn, key, lo, True)


def __dir__() -> list[str]:
    return __all__
