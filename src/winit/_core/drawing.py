"""The door: draw, fill and add check once, bind a law to a destination, and run its ranges over threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from winit import _kernels
from winit._core.bounds import Destination
from winit._core.checks import check_integer, check_number, check_threads, shown_integer
from winit._core.dtypes import FLOATS, WORDS, dtype_name, empty, name_of_array, numpy_dtype, scale_in
from winit._core.keys import stream_key
from winit._core.laws import bind_to
from winit._core.layouts import Layout, check_layout
from winit._core.running import INLINE, OWN_THREADS, run_bounds
from winit._core.scheme import Scheme, check_scheme, law_of
from winit._core.shapes import Box, Shape, check_box, check_shape, locate

__all__ = ["add", "array_of", "check_destination", "draw", "fill", "overlaps_itself", "place_of", "words"]

_Out = TypeVar("_Out")


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
    dtype : "float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2" (the last three are arrays of
        ml_dtypes' types) or a dtype object; zeros, ones, constant and literal take any boolean, integer, real or
        complex NumPy dtype.
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
    ImportError : bfloat16 or a float8 without ml_dtypes.

    >>> import winit
    >>> w = winit.draw(winit.he_normal(), (4, 3), seed=0, name="fc1.weight")
    >>> row = winit.draw(winit.he_normal(), (4, 3), seed=0, name="fc1.weight", box=(slice(2, 3), slice(None)))
    >>> bool((row == w[2:3]).all())
    True

    """
    check_scheme(scheme)
    key = stream_key(seed, name)
    shape = check_shape(shape)
    threads = check_threads(threads)
    check_layout(layout)
    kind = dtype_name(dtype)
    checked = check_box(shape, box)
    law = law_of(scheme, shape, layout, kind)  # what is wrong with the law comes before the allocation
    out = empty(locate(shape, checked)[0], numpy_dtype(kind))
    run_bounds([law.bind(Destination(out, kind, key, shape, checked))], threads)
    return out


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
        CPU that speaks DLPack 1.0 or later (torch tensors, bfloat16 and float8 too), the buffer protocol (memoryview,
        array.array, ctypes, mmap) or __array_interface__, asked in that order. It is written in place and never copied.
        Where winit draws on a CUDA or ROCm device (winit.engines()["triton"]), also one in its memory that speaks
        __cuda_array_interface__ (CuPy, Numba) or DLPack, or is a torch tensor; what is drawn there is only queued when
        the call returns (docs/gpu.md).
    dtype : None, out's own; "bfloat16" or "float16" where out holds them as 16-bit words (uint16, or V2),
        "float8_e4m3fn" or "float8_e5m2" where as bytes (uint8, or V1).
    shape : the global shape; out's own by default, and needed with a box.
    scheme, seed, name, layout, box, threads : as in winit.draw.

    Returns
    -------
    out.

    Raises
    ------
    TypeError, ValueError : as in winit.draw, before anything is written; and for an out that is read-only, on a device
        that winit does not draw on, of the wrong shape, of foreign byte order, or overlaps itself.

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

    out = round(wide(out) + scale v), wide being float64 for float64 and float32 otherwise, v the law's value in it; the
    product is rounded, then the sum, then the result to out's type.

    Parameters
    ----------
    out : as in winit.fill, of float32, float64, float16, bfloat16, float8_e4m3fn or float8_e5m2.
    scale : float, finite; rounded to the wide type, in which it must not be 0 unless it is 0.
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
    _write(out, scheme, seed, name, dtype, shape, layout, box, threads, check_number(scale, "scale"))
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
    if not isinstance(scheme, Scheme):
        check_scheme(scheme)
    key = stream_key(seed, name)
    if threads is not None:
        threads = check_threads(threads)
    if type(layout) is not str or layout != "oi":
        check_layout(layout)
    tensor = None if shape is None else check_shape(shape)
    if tensor is None and box is not None:
        raise ValueError("a box needs shape=, the global shape that it is a box of")
    if type(out) is np.ndarray:
        kind = name_of_array(out.dtype)
    else:
        out, kind = array_of(out)
    if tensor is None:
        tensor = out.shape
    checked = None if box is None else check_box(tensor, box)
    check_destination(out, tensor if checked is None else locate(tensor, checked)[0])
    if dtype is not None:
        out, kind = _as_dtype(out, kind, dtype)
    if kind not in FLOATS:
        _check_kind(out, scale is not None)
    if scale is not None:
        scale = scale_in(kind, scale)
    law = law_of(scheme, tensor, layout, kind, "out must hold")
    bound = bind_to(law, Destination(out, kind, key, tensor, checked, scale))
    if bound.size <= INLINE and not isinstance(bound, OWN_THREADS):
        bound.run(0, bound.size)
    else:
        run_bounds([bound], threads)


def _check_kind(out: Any, adding: bool) -> None:
    """Say what is wrong with an out that holds no floating-point values."""
    if adding:
        raise TypeError(f"add needs an out of {', '.join(FLOATS)}, not {out.dtype}")
    if isinstance(out, np.ndarray) and out.dtype.kind not in "biufc":
        may = [f'"{name}"' for name, word in WORDS.items() if word.itemsize == out.dtype.itemsize]
        hint = f"; dtype={' or '.join(may)} says what words of {8 * out.dtype.itemsize} bits stand for" if may else ""
        raise TypeError(f"out must hold boolean, integer, real or complex numbers, not {out.dtype}{hint}")


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
    lo, hi, tag = (check_integer(value, what, None, None) for value, what in ((lo, "lo"), (hi, "hi"), (tag, "tag")))
    if not 0 <= lo <= hi <= 1 << 64:
        raise ValueError(
            f"words must be a range with 0 <= lo <= hi <= 2^64, not [{shown_integer(lo)}, {shown_integer(hi)})"
        )
    if not 0 <= tag < 1 << 32:
        raise ValueError(f"tag must be in [0, 2^32), not {shown_integer(tag)}")
    out = empty((hi - lo,), np.dtype(np.uint32))
    if lo < hi:
        _, engine, isa = _kernels.in_use()
        engine.words(isa, key, tag, lo, out)
    return out


# ---- a caller's destination


def overlaps_itself(out: Any) -> bool:
    """Whether two elements of an array, or of a DeviceArray, share memory."""
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


def _as_dtype(out: Any, name: str, dtype: Any) -> tuple[Any, str]:
    """Give out and its dtype's name under the dtype that a caller asks for: words may stand for a narrow type."""
    wanted = dtype_name(dtype)
    if wanted == name:
        return out, name
    word, on_device = WORDS.get(wanted), not isinstance(out, np.ndarray)
    fields = None if on_device else out.dtype.fields
    if word is None or name not in (word.name, f"void{8 * word.itemsize}") or fields is not None:
        raise ValueError(
            f"out holds {name}, and dtype is {wanted!r}: only words of 16 bits can be given another, 'float16' or "
            "'bfloat16', and words of 8 bits, 'float8_e4m3fn' or 'float8_e5m2'"
        )
    if on_device:  # of words in any case
        return out, wanted
    return out.view(np.dtype(np.float16) if wanted == "float16" else word), wanted


def array_of(out: Any) -> tuple[Any, str]:
    """Give an array over a caller's destination, whatever object it is, and the canonical name of its dtype.

    A NumPy array where its memory is the CPU's, a DeviceArray where it is a device's.
    """
    if isinstance(out, np.ndarray):
        out = np.asarray(out)  # the memory itself, without what a subclass makes of writing to it
        return out, name_of_array(out.dtype)
    from winit._core.foreign import array_over

    array, kind = array_over(out)
    if kind is None:
        kind = name_of_array(array.dtype) if isinstance(array, np.ndarray) else array.dtype
    return array, kind


def place_of(out: Any) -> tuple[int, tuple[int, ...]]:
    """Tell where an array or a DeviceArray is: its address and its strides."""
    if isinstance(out, np.ndarray):
        return out.ctypes.data, out.strides
    return out.words.data_ptr(), out.steps


def check_destination(out: Any, box_shape: Shape) -> None:
    """Check a caller's destination: an array, or a DeviceArray, which is writeable."""
    if out.shape != box_shape:
        raise ValueError(f"out has shape {out.shape}, expected {box_shape}")
    if not isinstance(out, np.ndarray):
        if overlaps_itself(out):
            raise ValueError(f"out has elements that share memory (shape {out.shape}, strides {out.strides})")
        return
    flags = out.flags
    if not flags.writeable:
        raise ValueError("out must be writeable, and is read-only")
    if not flags.c_contiguous and overlaps_itself(out):
        raise ValueError(f"out has elements that share memory (shape {out.shape}, strides {out.strides})")
