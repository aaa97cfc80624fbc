"""The stream inside the user's own Numba code: words, elements and fills, callable in nopython mode and in prange.

A key is made outside, from seed and name; inside, an element is a function of (key, index) alone, so loops may be cut and
threaded at will. Values are those of winit.draw, to the bit.

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

from typing import Any

import numpy as np

try:
    from numba import njit, types
    from numba.core.errors import TypingError
    from numba.extending import overload
except ImportError:
    raise ImportError("winit.jit needs the package numba, which is not installed: pip install 'winit[numba]'") from None

from winit._kernels import jit as points
from winit.keys import stream_key
from winit.laws import TruncatedNormal

__all__ = [
    "cut",
    "fill_normal",
    "fill_normal_bf16",
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
Key = tuple[np.uint32, np.uint32]


def key(seed: int, name: str = "") -> Key:
    """Return the key of a tensor's stream, as nopython code takes it: a tuple of two uint32.

    Parameters
    ----------
    seed : int, 0 <= seed < 2^64. name : str.

    Raises
    ------
    TypeError, ValueError : as winit.draw.

    >>> key(0, "w")
    (np.uint32(...), np.uint32(...))
    """
    first, second = stream_key(seed, name)
    return U32(first), U32(second)


def cut(low: float = -2.0, high: float = 2.0, dtype: str = "float32") -> tuple[float, ...]:
    """Return what truncated_normal_at and fill_truncated_normal need to know of two cuts, worked out once.

    Parameters
    ----------
    low, high : float, low < high, in units of std.
    dtype : "float32" (for the half types too) or "float64".

    Raises
    ------
    ValueError : as winit.truncated_normal; another dtype.

    >>> cut()[:2]
    (-2.0, 2.0)
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', not {dtype!r}")
    return TruncatedNormal(0.0, 1.0, float(low), float(high)).params(dtype)[2:]


# ---- one element


@njit(inline="always")
def philox4x32(counter, key):  # type: ignore[no-untyped-def]
    """Four words (uint32) of the block `counter` (uint64) of a key's values.

    Source: Salmon et al. 2011, Philox4x32-10, counter (low, high, 0, 0).
    """
    w0, w1, w2, w3 = points.philox(key[0], key[1], 0, U64(counter))
    return U32(w0), U32(w1), U32(w2), U32(w3)


@njit(inline="always")
def word_at(key, i):  # type: ignore[no-untyped-def]
    """Word i (uint32) of a key's values."""
    w0, w1, w2, w3 = points.philox(key[0], key[1], 0, U64(i) >> U64(2))
    lane = U64(i) & U64(3)
    low = w1 if lane & U64(1) else w0
    high = w3 if lane & U64(1) else w2
    return U32(high if lane & U64(2) else low)


@njit(inline="always")
def _integer_at(key, i):  # type: ignore[no-untyped-def]
    """The 53-bit integer of element i, and of its pair the first and the second."""
    w0, w1, w2, w3 = points.philox(key[0], key[1], 0, U64(i) >> U64(1))
    return points.k53(w0, w1), points.k53(w2, w3)


@njit(inline="always")
def uniform_at(key, i):  # type: ignore[no-untyped-def]
    """Element i of winit.uniform(0, 1), float32, in [0, 1)."""
    return F32(word_at(key, i) >> U32(8)) * F32(2.0**-24)


@njit(inline="always")
def uniform64_at(key, i):  # type: ignore[no-untyped-def]
    """Element i of winit.uniform(0, 1), float64, in [0, 1)."""
    first, second = _integer_at(key, i)
    return points.int53(second if U64(i) & U64(1) else first) * 2.0**-53


@njit(inline="always")
def normal_at(key, i):  # type: ignore[no-untyped-def]
    """Element i of winit.normal(0, 1), float32."""
    w0, w1, w2, w3 = points.philox(key[0], key[1], 0, U64(i) >> U64(2))
    upper = (U64(i) & U64(2)) != U64(0)
    z0, z1 = points.normal_pair(U32(w2 if upper else w0), U32(w3 if upper else w1))
    return z1 if U64(i) & U64(1) else z0


@njit(inline="always")
def normal64_at(key, i):  # type: ignore[no-untyped-def]
    """Element i of winit.normal(0, 1), float64."""
    first, second = _integer_at(key, i)
    z0, z1 = points.normal_pair_f64(first, second)
    return z1 if U64(i) & U64(1) else z0


@njit(inline="always")
def truncated_normal_at(key, i, cut):  # type: ignore[no-untyped-def]
    """Element i of winit.truncated_normal(0, 1, low, high), float32; `cut` is winit.jit.cut(low, high)."""
    low, high, below, above, step, threshold, _ = cut
    n = word_at(key, i) >> U32(8)
    return points.truncated_point(
        n, F32(low), F32(high), F32(below), F32(above), F32(step), U32(threshold), True
    )


@njit(inline="always")
def truncated_normal64_at(key, i, cut):  # type: ignore[no-untyped-def]
    """Element i of winit.truncated_normal(0, 1, low, high), float64; `cut` is winit.jit.cut(low, high, "float64")."""
    low, high, below, above, step, threshold, _ = cut
    first, second = _integer_at(key, i)
    k = second if U64(i) & U64(1) else first
    return points.truncated_point_f64(k, low, high, below, above, step, U64(threshold), True)


# ---- many

SIZE = 512  # values between transform and destination


def _loop(double: bool, rounding: Any) -> Any:
    """Fill out with elements lo, lo + 1, ... of a law: whole blocks into a buffer, and from it, rounded, to out."""
    kind, per = (F64, 2) if double else (F32, 4)
    values = points.values_f64 if double else points.values_f32

    def fill(out, key, lo, law, p):  # type: ignore[no-untyped-def]
        first, done = U64(lo), 0
        buffer = np.empty(SIZE, kind)
        while done < out.size:
            skip = I64(first % U64(per))
            part = min(out.size - done, SIZE - skip)
            blocks = (skip + part + per - 1) // per
            values(law, key[0], key[1], first // U64(per), blocks, buffer, p)
            for j in range(part):
                out[done + j] = rounding(buffer[skip + j])
            first += U64(part)
            done += part

    return fill


@njit(inline="always")
def _as_it_is(x):  # type: ignore[no-untyped-def]
    return x


def _fill(out, key, lo, law, p):  # type: ignore[no-untyped-def]
    """Stand for the overload below."""


def _checked(out: Any, kinds: tuple[Any, ...], what: str) -> None:
    if not isinstance(out, types.Array) or out.ndim != 1 or out.dtype not in kinds or not out.mutable:
        names = " or ".join(str(kind) for kind in kinds)
        raise TypingError(f"out of {what} must be a writable array of one axis of {names}, not {out}")


@overload(_fill)
def _fill_overload(out, key, lo, law, p):  # type: ignore[no-untyped-def]
    _checked(out, (types.float32, types.float64), "a fill")
    return _loop(out.dtype == types.float64, _as_it_is)


@njit(nogil=True, error_model="numpy")
def fill_uniform(out, key, lo, low=0.0, high=1.0):  # type: ignore[no-untyped-def]
    """Fill out with elements lo, lo + 1, ... of winit.uniform(low, high)."""
    p = np.zeros(9)
    _uniform_params(out, low, high, p)
    _fill(out, key, lo, 1, p)


def _uniform_params(out, low, high, p):  # type: ignore[no-untyped-def]
    """Stand for the overload below."""


@overload(_uniform_params)
def _uniform_params_overload(out, low, high, p):  # type: ignore[no-untyped-def]
    _checked(out, (types.float32, types.float64), "fill_uniform")
    kind = F64 if out.dtype == types.float64 else F32

    def params(out, low, high, p):  # type: ignore[no-untyped-def]
        p[0] = kind(low)
        p[1] = kind(F64(kind(high)) - F64(kind(low)))
        p[2] = np.nextafter(kind(high), kind(-np.inf))

    return params


@njit(nogil=True, error_model="numpy")
def fill_normal(out, key, lo, mean=0.0, std=1.0):  # type: ignore[no-untyped-def]
    """Fill out, float32 or float64, with elements lo, lo + 1, ... of winit.normal(mean, std)."""
    p = np.zeros(9)
    p[0], p[1] = mean, std
    _fill(out, key, lo, 2, p)


@njit(nogil=True, error_model="numpy")
def fill_truncated_normal(out, key, lo, cut, mean=0.0, std=1.0):  # type: ignore[no-untyped-def]
    """Fill out with elements lo, lo + 1, ... of winit.truncated_normal(mean, std, low, high); `cut` as of winit.jit.cut.

    The cut must be that of out's dtype.
    """
    p = np.zeros(9)
    p[0], p[1] = mean, std
    for j in range(7):
        p[2 + j] = cut[j]
    _fill(out, key, lo, 3, p)


def _half(rounding: Any, what: str) -> Any:
    loop = njit(nogil=True, error_model="numpy")(_loop(False, rounding))

    def fill(out, key, lo, mean=0.0, std=1.0):  # type: ignore[no-untyped-def]
        p = np.zeros(9)
        p[0], p[1] = mean, std
        loop(out, key, lo, 2, p)

    fill.__name__ = fill.__qualname__ = what
    fill.__doc__ = f"Fill a uint16 view of {what[-4:].strip('_')} with elements lo, lo + 1, ... of winit.normal(mean, std)."
    return njit(nogil=True, error_model="numpy")(fill)


fill_normal_bf16 = _half(points.round_bf16, "fill_normal_bf16")
fill_normal_f16 = _half(points.round_f16, "fill_normal_f16")


def fill_with(out, fn, key, lo, raw=False):  # type: ignore[no-untyped-def]
    """Fill out with fn of the uniform number of elements lo, lo + 1, ..., a distribution of the caller's own.

    fn is a compiled function of u, float64 in (0, 1): (w + 1/2) 2^-32 of the element's word w where out is float32,
    (k + 1/2) 2^-53 of its 53-bit integer k where it is float64. With raw=True, of w (uint32) or k (uint64) itself. The
    law holds; the bits are those of the mathematical functions that fn calls.
    """
    _call_fill_with(out, fn, key, lo, raw)


def _with(double: bool, raw: bool) -> Any:
    """The loop of fill_with: the numbers of whole blocks into a buffer, and fn over it."""
    per, kind = (2, U64) if double else (4, U32)

    if raw:

        @njit(inline="always")
        def number(x):  # type: ignore[no-untyped-def]
            return x

    elif double:

        @njit(inline="always")
        def number(x):  # type: ignore[no-untyped-def]
            return (points.int53(x) + 0.5) * 2.0**-53

    else:

        @njit(inline="always")
        def number(x):  # type: ignore[no-untyped-def]
            return (F64(x) + 0.5) * 2.0**-32

    def fill(out, fn, key, lo, raw=False):  # type: ignore[no-untyped-def]
        first, done = U64(lo), 0
        buffer = np.empty(SIZE, kind)
        while done < out.size:
            skip = I64(first % U64(per))
            part = min(out.size - done, SIZE - skip)
            blocks = (skip + part + per - 1) // per
            start = first // U64(per)
            for b in range(blocks):
                w0, w1, w2, w3 = points.philox(key[0], key[1], 0, start + U64(b))
                if double:
                    buffer[2 * b] = points.k53(w0, w1)
                    buffer[2 * b + 1] = points.k53(w2, w3)
                else:
                    buffer[4 * b] = U32(w0)
                    buffer[4 * b + 1] = U32(w1)
                    buffer[4 * b + 2] = U32(w2)
                    buffer[4 * b + 3] = U32(w3)
            for j in range(part):
                out[done + j] = fn(number(buffer[skip + j]))
            first += U64(part)
            done += part

    return fill


@overload(fill_with, prefer_literal=True, jit_options={"error_model": "numpy", "nogil": True})
def _fill_with(out, fn, key, lo, raw=False):  # type: ignore[no-untyped-def]
    _checked(out, (types.float32, types.float64), "fill_with")
    given = getattr(raw, "literal_value", getattr(raw, "value", raw))
    if not isinstance(given, bool):
        raise TypingError("raw of fill_with must be True or False, written where it is called")
    return _with(out.dtype == types.float64, given)


@njit(nogil=True, error_model="numpy")
def _fill_with_uniform(out, fn, key, lo):  # type: ignore[no-untyped-def]
    fill_with(out, fn, key, lo)


@njit(nogil=True, error_model="numpy")
def _fill_with_raw(out, fn, key, lo):  # type: ignore[no-untyped-def]
    fill_with(out, fn, key, lo, True)


def _call_fill_with(out: np.ndarray, fn: Any, key: Key, lo: int, raw: bool) -> None:
    (_fill_with_raw if raw else _fill_with_uniform)(out, fn, key, lo)
