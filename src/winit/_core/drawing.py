"""The door: draw, fill and add check once, bind a law to a destination, and run its ranges over threads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, SupportsIndex, TypeVar

import numpy as np

from winit import _kernels
from winit._core.keys import stream_key
from winit._core.laws import LARGEST, Constant, Law, Padded, Sparse, Whole, arithmetic, real
from winit._core.shapes import Axes, Box, Layout, Shape, check_layout, check_shape, fans, locate
from winit._core.threads import check_threads, share
from winit.schemes.base import Scheme
from winit.schemes.constants import constant, literal, ones, zeros

__all__ = ["add", "bind", "check_scheme", "draw", "fill", "overlaps_itself", "resolve", "run", "words"]

# Elements. A range of this many float32 values takes a thread about a millisecond, long beside the microseconds of
# handing it over; below twice that, starting threads costs more than they save.
RANGE = 1 << 20
INLINE = 1 << 18

_CODES = {name: code for code, name in enumerate(_kernels.DTYPES)}
HALVES = ("float16", "bfloat16")
_LAW_CODES = {"Constant": 0, "Uniform": 1, "Normal": 2, "TruncatedNormal": 3}  # of elements on their own
_WORD = {"float16": np.dtype(np.uint16), "bfloat16": np.dtype(np.uint16)}
_SPELLING = re.compile(r"[<>=|]?[b-zA-Z?]\w*(\[\w+\])?")  # of a dtype
_Out = TypeVar("_Out")
_names: dict[np.dtype, str] = {np.dtype(name): name for name in ("float32", "float64", "float16")}


# ---- dtypes


def bfloat16() -> np.dtype:
    """Return NumPy's dtype for bfloat16, which ml_dtypes brings."""
    try:
        import ml_dtypes
    except ImportError:
        raise ImportError(
            "dtype 'bfloat16' needs the package ml_dtypes, which is not installed: pip install ml_dtypes"
        ) from None
    return np.dtype(ml_dtypes.bfloat16)


def dtype_name(dtype: Any) -> str:
    """Return the canonical name of a dtype given as a name or an object."""
    if isinstance(dtype, str) and dtype in _CODES:
        return dtype
    try:
        # NumPy reads other text as code, other objects as records, and abstract types and "a" with a warning; turning
        # warnings into errors would be for all threads.
        if dtype is None or isinstance(dtype, (tuple, list, dict)):
            raise TypeError
        if isinstance(dtype, str) and not _SPELLING.fullmatch(dtype):
            raise TypeError
        found = np.dtype(dtype)
        if isinstance(dtype, type) and issubclass(dtype, np.generic) and found.type is not dtype:
            raise TypeError
    except (TypeError, ValueError):
        raise TypeError(f"dtype must be {', '.join(_CODES)} or a NumPy dtype, not {dtype!r}") from None
    if not found.isnative:
        raise ValueError(f"dtype must be in native byte order, not {found.str!r}")
    if found.kind not in "biufcV" or (found.kind == "V" and found.name != "bfloat16"):
        raise TypeError(f"dtype must be boolean, integer, real or complex, not {found}")
    return found.name


def numpy_dtype(name: str) -> np.dtype:
    """Return the NumPy dtype of a canonical name."""
    return bfloat16() if name == "bfloat16" else np.dtype(name)


def _name_of(dtype: np.dtype) -> str:
    name = _names.get(dtype)
    if name is None:
        if not dtype.isnative:
            raise ValueError(f"out must be in native byte order, not {dtype.str!r}")
        name = dtype.name
        if name == "bfloat16":
            _names[dtype] = name
    return name


# ---- binding


def law_code(law: Law) -> int:
    """Return the kernels' number of a law of independent elements."""
    return _LAW_CODES[type(law).__name__]


@lru_cache(maxsize=4096)
def resolve(
    scheme: Scheme, shape: Shape, layout: Layout, dtype: str, adding: bool
) -> tuple[Law, tuple[float, ...], Shape]:
    """Law, kernel parameters and row-major steps of a whole tensor."""
    if isinstance(layout, Axes):
        fans(shape, layout)  # axes that the shape does not have are wrong for every scheme
    with _kernels.default_float_mode():
        law = scheme.law(shape, layout)
        params = law.params(dtype)
        if adding and dtype in HALVES:  # what is added is the value before it is rounded to the type
            params = law.params("float32")
    return law, params, locate(shape, None)[2]


@lru_cache(maxsize=64)
def exact_values(scheme: Scheme, dtype: str) -> np.ndarray:
    """Give the values of a constant or literal scheme, for half types in float32 and else in the dtype itself.

    TypeError for another scheme or kind of dtype, ValueError for values that the dtype does not have.
    """
    if isinstance(scheme, literal):
        given = scheme.values
    elif isinstance(scheme, (zeros, ones, constant)):
        law = scheme.law((), "oi")
        given = np.asarray(law.value if isinstance(law, Constant) else None)
    else:
        raise TypeError(
            f"{scheme!r} draws floating-point values, so dtype must be one of {', '.join(_CODES)}, not {dtype}"
        )
    kind = np.dtype(np.float32) if dtype in HALVES else np.dtype(dtype)
    if kind.kind not in "biufc":
        raise TypeError(f"dtype must be boolean, integer, real or complex, not {dtype}")
    try:
        with np.errstate(all="ignore"), _kernels.default_float_mode():
            cast = given.astype(kind)
    except OverflowError:
        raise ValueError(f"{scheme!r} holds values that {dtype} does not have") from None
    if kind.kind in "biu":
        same = all(a == b for a, b in zip(given.ravel().tolist(), cast.ravel().tolist(), strict=True))
    elif dtype in LARGEST:  # rounding is allowed, leaving the range is not
        same = bool((np.abs(cast) <= LARGEST[dtype]).all())
    else:
        same = bool(np.isfinite(cast).all())
    if not same:
        raise ValueError(f"{scheme!r} holds values that {dtype} does not have")
    cast.flags.writeable = False
    return cast


class _Empty:
    """What a destination without elements is bound to."""

    size = 0

    def run(self, lo: int, hi: int) -> None:
        pass


class Stream:
    """The stream of one tensor, in the arithmetic type of its law: what a scheme of whole tensors draws from."""

    def __init__(self, key: tuple[int, int], dtype: str, threads: int | None) -> None:
        self.key, self.threads = key, threads
        self.dtype = "float64" if dtype == "float64" else "float32"

    def draw(self, scheme: Scheme, shape: Shape, box: Box | None = None) -> np.ndarray:
        """Draw as winit.draw does, under the tensor's own key."""
        out = empty(locate(shape, box)[0], np.dtype(self.dtype))
        run([bind(out, self.dtype, scheme, self.key, shape, "oi", box, None)], self.threads)
        return out


class _Padded:
    """A destination that a kernel fills but for its positions first..last, which another fills or nobody."""

    def __init__(self, fill: Any, padding: Any, first: int, last: int) -> None:
        self.fill, self.padding, self.first, self.last = fill, padding, first, last
        self.size = fill.size

    def run(self, lo: int, hi: int) -> None:
        first, last = (min(max(end, lo), hi) for end in (self.first, self.last))
        self.fill.run(lo, first)
        self.fill.run(last, hi)
        if self.padding is not None:
            self.padding.run(first, last)


class _Copy:
    """A destination that takes values rather than a kernel's: given ones, or what is made when they are needed."""

    def __init__(
        self, dest: np.ndarray, dtype: str, make: Callable[[int | None], np.ndarray], scale: float | None
    ) -> None:
        self.dest, self.dtype, self.make, self.scale = dest, dtype, make, scale
        self.size = dest.size

    def run(self, lo: int, hi: int, threads: int | None = None) -> None:
        dest = self.dest
        with _kernels.default_float_mode():
            value = self.make(threads)
        with _kernels.default_float_mode(), np.errstate(all="ignore"):
            if self.dtype == "bfloat16":
                from winit._kernels.numpy_engine import round_bf16, widen_bf16

                words = dest.view(np.uint16)
                if self.scale is not None:
                    value = widen_bf16(words) + np.float32(self.scale) * value
                words[...] = round_bf16(np.asarray(value))
                return
            if self.scale is not None:
                value = dest.astype(value.dtype) + value.dtype.type(self.scale) * value
            dest[...] = value


def overlaps_itself(out: np.ndarray) -> bool:
    """Whether two elements of an array share memory."""
    axes = sorted((abs(stride), size) for size, stride in zip(out.shape, out.strides, strict=True) if size > 1)
    if 0 in out.shape:
        return False
    if out.size * out.itemsize > sum(stride * (size - 1) for stride, size in axes) + out.itemsize:
        return True  # more bytes than the addresses between the first and the last
    reach = out.itemsize
    for stride, size in axes:
        if stride < reach:
            break
        reach = stride * (size - 1) + reach
    else:
        return False
    # Strides that do not nest may still keep all elements apart: look at every address.
    starts = np.zeros(1, np.int64)
    for stride, size in axes:
        starts = (starts[:, None] + np.arange(size) * stride).ravel()
    starts.sort()
    return bool((np.diff(starts) < out.itemsize).any())


def bind(
    out: np.ndarray,
    dtype: str,
    scheme: Scheme,
    key: tuple[int, int],
    shape: Shape,
    layout: Layout,
    box: Box | None,
    scale: float | None,
) -> Any:
    """Bind a scheme's law to a checked destination; returns what has .size and .run(lo, hi).

    out has the box's shape; where it stands for a half type it may hold uint16 words.
    """
    if isinstance(scheme, literal) or dtype not in _CODES:
        values = exact_values(scheme, dtype)
        if isinstance(scheme, literal):
            if values.shape != shape:
                raise ValueError(f"literal values have shape {values.shape}, the tensor has {shape}")
            if box is not None:
                values = values.reshape(-1)[box.start : box.stop] if isinstance(box, range) else values[box]
        return _Copy(out, dtype, lambda threads: values, scale)
    law, params, steps = resolve(scheme, shape, layout, dtype, scale is not None)
    if out.size == 0:
        return _Empty()
    if isinstance(law, Whole):

        def make(threads: int | None) -> np.ndarray:
            whole = law.maker.values(Stream(key, dtype, threads), law.shape, law.layout)
            return whole.reshape(-1)[box.start : box.stop] if isinstance(box, range) else whole[box or ...]

        return _Copy(out, dtype, make, scale)
    start = 0
    if box is not None:
        _, start, steps = locate(shape, box)
    _, engine, isa = _kernels.in_use()
    word = _WORD.get(dtype)
    dest = out if word is None else out.view(word)
    if isinstance(law, Sparse):
        begin = (
            box.start if isinstance(box, range) else tuple(part.start or 0 for part in box or (slice(0),) * len(shape))
        )
        return engine.Sparse(isa, _CODES[dtype], key, params, shape, law.units, law.keep, dest, begin, scale)
    if isinstance(law, Padded):
        if isinstance(box, range):
            first, row = law.index * law.row - box.start, law.row
        else:
            begin = box[0].start or 0 if box else 0
            row = out.size // out.shape[0]
            first = (law.index - begin) * row
        padding = None if scale is not None else engine.Fill(isa, 0, _CODES[dtype], key, (0.0,), dest, start, steps)
        inner = engine.Fill(isa, law_code(law.inner), _CODES[dtype], key, params, dest, start, steps, scale)
        return _Padded(inner, padding, first, first + row)
    return engine.Fill(isa, law_code(law), _CODES[dtype], key, params, dest, start, steps, scale)


def _as_dtype(out: np.ndarray, name: str, dtype: Any) -> tuple[np.ndarray, str]:
    """Give out and its dtype's name under the dtype that a caller asks for: 16-bit words may stand for a half type."""
    wanted = dtype_name(dtype)
    if wanted == name:
        return out, name
    if wanted not in HALVES or name not in ("uint16", "void16") or out.dtype.fields is not None:
        raise ValueError(
            f"out holds {name}, and dtype is {wanted!r}: only words of 16 bits can be given another, "
            f"{' or '.join(map(repr, HALVES))}"
        )
    return out.view(np.float16 if wanted == "float16" else np.uint16), wanted


def _check_out(out: np.ndarray, box_shape: Shape) -> None:
    """Check a caller's destination."""
    if out.shape != box_shape:
        raise ValueError(f"out has shape {out.shape}, expected {box_shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, and is read-only")
    if not out.flags.c_contiguous and overlaps_itself(out):
        raise ValueError(f"out has elements that share memory (shape {out.shape}, strides {out.strides})")


def check_scheme(scheme: Any) -> None:
    """Check a caller's scheme."""
    if not isinstance(scheme, Scheme):
        hint = f"; did you mean {scheme.__name__}()?" if isinstance(scheme, type) and issubclass(scheme, Scheme) else ""
        raise TypeError(f"scheme must be a winit scheme such as winit.he_normal(), not {scheme!r}{hint}")


# ---- running


def run(bound: Sequence[Any], threads: int | None) -> None:
    """Run bound fills to the end: small work in this thread, large work as one pool of ranges over all of them."""
    ranged = []
    for fill in bound:
        if isinstance(fill, _Copy):  # products of matrices have threads of their own
            fill.run(0, fill.size, threads)
        else:
            ranged.append(fill)
    if sum(fill.size for fill in ranged) <= INLINE or threads == 1:
        for fill in ranged:
            fill.run(0, fill.size)
        return
    tasks: list[list[tuple[Any, int, int]]] = []
    batch: list[tuple[Any, int, int]] = []
    held = 0
    for fill in ranged:
        if not getattr(fill, "by_units", True):
            tasks.append([(fill, 0, fill.size)])
            continue
        lo = 0
        while lo < fill.size:
            hi = min(fill.size, lo + RANGE - held)
            batch.append((fill, lo, hi))
            held += hi - lo
            lo = hi
            if held == RANGE:
                tasks.append(batch)
                batch, held = [], 0
    if batch:
        tasks.append(batch)

    def work(task: list[tuple[Any, int, int]]) -> None:
        for fill, lo, hi in task:
            fill.run(lo, hi)

    share(work, tasks, threads)


# ---- the public functions


def draw(
    scheme: Scheme,
    shape: int | Sequence[int],
    *,
    seed: int,
    name: str = "",
    dtype: Any = "float32",
    layout: Layout = "oi",
    box: Box | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Draw a new array: a tensor, or a box of one.

    An element's value depends on (seed, name, its flat index in the global tensor, the scheme's law, dtype) and on
    nothing else: not on box, threads or engine.

    Parameters
    ----------
    scheme : what winit.he_normal() and the like return.
    shape : tuple of int, or int. The global shape, which fans are taken from.
    seed : int, 0 <= seed < 2^64.
    name : str. The tensor's name. Two tensors drawn with one seed and one name are equal where they overlap, and ""
        is a name like any other: give every tensor of a model its own.
    dtype : "float32", "float64", "float16", "bfloat16" (an array of ml_dtypes.bfloat16) or a dtype object; zeros,
        ones, constant and literal take any boolean, integer, real or complex NumPy dtype.
    layout : "oi" = (out, in, *spatial), "io" = (*spatial, in, out), or winit.Axes.
    box : tuple of slices of the global shape, or range(lo, hi) of flat indices; the result has the box's shape.
    threads : int or None, the processors this process may use.

    Returns
    -------
    numpy.ndarray, C-contiguous.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; the message says what was expected and what came.
    MemoryError : the array cannot be allocated.
    ImportError : bfloat16 without ml_dtypes.

    >>> import winit
    >>> w = winit.draw(winit.he_normal(), (4, 3), seed=0, name="fc1.weight")
    >>> row = winit.draw(winit.he_normal(), (4, 3), seed=0, name="fc1.weight", box=(slice(2, 3), slice(None)))
    >>> bool((row == w[2:3]).all())
    True

    """
    check_scheme(scheme)
    key = stream_key(seed, name)
    shape = check_shape(shape)
    check_threads(threads)
    if layout != "oi":
        check_layout(layout)
    kind = dtype_name(dtype)
    out_shape = locate(shape, box)[0]
    if kind in _CODES and not isinstance(scheme, literal):
        resolve(scheme, shape, layout, kind, False)  # what is wrong with the law comes before the allocation
    else:
        exact_values(scheme, kind)
    out = empty(out_shape, numpy_dtype(kind))
    run([bind(out, kind, scheme, key, shape, layout, box, None)], threads)
    return out


def empty(shape: Shape, dtype: np.dtype) -> np.ndarray:
    """Allocate an array, untouched; MemoryError where that is impossible."""
    try:
        return np.empty(shape, dtype)
    except ValueError:  # NumPy's word for more bytes than an address can count
        raise MemoryError(f"cannot allocate an array of shape {shape} and dtype {dtype}") from None


def fill(
    out: _Out,
    scheme: Scheme,
    *,
    seed: int,
    name: str = "",
    dtype: Any = None,
    shape: int | Sequence[int] | None = None,
    layout: Layout = "oi",
    box: Box | None = None,
    threads: int | None = None,
) -> _Out:
    """Fill an array in place with what `draw` would return.

    Parameters
    ----------
    out : numpy.ndarray of any strides, as long as no two elements share memory; or an object with such memory on the
        CPU that speaks DLPack 1.0 or later (torch tensors, bfloat16 too), the buffer protocol (memoryview, array.array,
        ctypes, mmap) or __array_interface__, asked in that order. It is written in place and never copied.
    dtype : None, out's own; "bfloat16" or "float16" where out holds them as 16-bit words (uint16, or V2).
    shape : the global shape; out's own by default, and needed with a box.
    scheme, seed, name, layout, box, threads : as in winit.draw.

    Returns
    -------
    out.

    Raises
    ------
    TypeError, ValueError : as in winit.draw, before anything is written; and for an out that is read-only, on a device,
        of the wrong shape, of foreign byte order, or overlaps itself.

    >>> import numpy as np, winit
    >>> out = np.zeros((2, 3), np.float32, order="F")
    >>> winit.fill(out, winit.normal(), seed=1) is out
    True
    >>> bool((out == winit.draw(winit.normal(), (2, 3), seed=1)).all())
    True
    >>> words = winit.fill(np.zeros(3, np.uint16), winit.ones(), seed=1, dtype="bfloat16")
    >>> [hex(word) for word in words]
    ['0x3f80', '0x3f80', '0x3f80']

    """
    _write(out, scheme, seed, name, dtype, shape, layout, box, threads, None)
    return out


def add(
    out: _Out,
    scheme: Scheme,
    *,
    seed: int,
    name: str = "",
    scale: float = 1.0,
    dtype: Any = None,
    shape: int | Sequence[int] | None = None,
    layout: Layout = "oi",
    box: Box | None = None,
    threads: int | None = None,
) -> _Out:
    """Add scale times what `draw` would return to an array in place, in one pass that stores no noise.

    out = round(wide(out) + scale v), wide being float32 for the half types and the type itself otherwise, v the law's
    value in it; the product is rounded, then the sum, then the result to out's type.

    Parameters
    ----------
    out : as in winit.fill, of float32, float64, float16 or bfloat16.
    scale : float, finite; rounded to the wide type.
    scheme, seed, name, dtype, shape, layout, box, threads : as in winit.fill.

    Returns
    -------
    out.

    Raises
    ------
    TypeError, ValueError : as in winit.fill.

    >>> import numpy as np, winit
    >>> out = np.ones(3, np.float32)
    >>> z = winit.draw(winit.normal(), 3, seed=5)
    >>> bool((winit.add(out, winit.normal(), seed=5, scale=0.5) == 1 + np.float32(0.5) * z).all())
    True

    """
    _write(out, scheme, seed, name, dtype, shape, layout, box, threads, real(scale, "scale"))
    return out


def _write(
    out: Any,
    scheme: Scheme,
    seed: int,
    name: str,
    dtype: Any,
    shape: int | Sequence[int] | None,
    layout: Layout,
    box: Box | None,
    threads: int | None,
    scale: float | None,
) -> None:
    check_scheme(scheme)
    key = stream_key(seed, name)
    if threads is not None:
        check_threads(threads)
    if layout != "oi":
        check_layout(layout)
    whole = None if shape is None else check_shape(shape)
    if whole is None and box is not None:
        raise ValueError("a box needs shape=, the global shape that it is a box of")
    kind = None
    if type(out) is not np.ndarray:
        if isinstance(out, np.ndarray):
            out = np.asarray(out)  # the memory itself, without what a subclass makes of writing to it
        else:
            from winit._core.foreign import array_over

            out, kind = array_over(out)
    if kind is None:
        kind = _name_of(out.dtype)
    if whole is None:
        whole = out.shape
    _check_out(out, whole if box is None else locate(whole, box)[0])
    if dtype is not None:
        out, kind = _as_dtype(out, kind, dtype)
    if scale is not None:
        if kind not in _CODES:
            raise TypeError(f"add needs an out of {', '.join(_CODES)}, not {out.dtype}")
        rounded = arithmetic(kind, scale)
        if abs(rounded) == float("inf"):
            raise ValueError(f"scale {scale!r} is beyond the range of {kind}")
        scale = rounded
    bound = bind(out, kind, scheme, key, whole, layout, box, scale)
    if bound.size <= INLINE and not isinstance(bound, _Copy):
        bound.run(0, bound.size)
    else:
        run([bound], threads)


def words(seed: int, name: str, lo: int, hi: int, tag: int = 0) -> np.ndarray:
    """Return words lo..hi of the raw stream.

    Parameters
    ----------
    seed, name : as in winit.draw.
    lo, hi : int, 0 <= lo <= hi <= 2^64. Word numbers.
    tag : int, 0 <= tag < 2^32. Purpose: 0 values, 1 positions; docs/streams.md lists them.

    Returns
    -------
    numpy.ndarray of uint32, hi - lo words.

    Raises
    ------
    TypeError, ValueError : not integers; out of range.

    Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".

    >>> words(0, "", 0, 4)
    array([1052217790, 1776054751,  678293519, 3874122687], dtype=uint32)

    """
    key = stream_key(seed, name)
    for value, what in ((lo, "lo"), (hi, "hi"), (tag, "tag")):
        if isinstance(value, bool) or not isinstance(value, SupportsIndex):
            raise TypeError(f"{what} must be an integer, not {type(value).__name__}")
    lo, hi, tag = lo.__index__(), hi.__index__(), tag.__index__()
    if not 0 <= lo <= hi <= 1 << 64:
        raise ValueError(f"words must be a range with 0 <= lo <= hi <= 2^64, not [{lo}, {hi})")
    if not 0 <= tag < 1 << 32:
        raise ValueError(f"tag must be in [0, 2^32), not {tag}")
    out = empty((hi - lo,), np.dtype(np.uint32))
    if lo < hi:
        _, engine, isa = _kernels.in_use()
        engine.words(isa, key, tag, lo, out)
    return out
