"""dtypes: their names and sizes, words for those that NumPy has not, and the one rounding from type to type."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from winit import _kernels
from winit._core.checks import nearest, shown

__all__ = [
    "FLOATS",
    "LARGEST",
    "STORED",
    "WORDS",
    "arithmetic",
    "as_words",
    "below",
    "convert",
    "dtype_name",
    "element_dtype",
    "empty",
    "float_name",
    "itemsize",
    "name_of_array",
    "nearest_value",
    "numpy_dtype",
    "rounded",
    "scale_in",
    "widen",
]

FLOATS = _kernels.DTYPES  # what kernels draw
# The narrow types, which are computed in float32 and rounded once, and the words that kernels write them as.
WORDS: dict[str, np.dtype] = {
    "float16": np.dtype(np.uint16),
    "bfloat16": np.dtype(np.uint16),
    "float8_e4m3fn": np.dtype(np.uint8),
    "float8_e5m2": np.dtype(np.uint8),
}
_FOREIGN = ("bfloat16", "float8_e4m3fn", "float8_e5m2")  # ml_dtypes' and not NumPy's
# What safetensors can hold, and so what a plan may.
STORED = (*FLOATS, "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "complex64")

_SHORT = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64"}
_SHORT |= {"fp8_e4m3": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2"}
_SPELLING = re.compile(r"[<>=|]?[b-zA-Z?]\w*(\[\w+\])?")  # of a dtype
_names: dict[np.dtype, str] = {np.dtype(name): name for name in ("float32", "float64", "float16")}


# ---- names


def _foreign(name: str) -> np.dtype:
    """Return NumPy's dtype for a type that ml_dtypes brings."""
    try:
        import ml_dtypes
    except ImportError:
        raise ImportError(
            f"dtype {name!r} needs the package ml_dtypes, which is not installed: pip install ml_dtypes"
        ) from None
    return np.dtype(getattr(ml_dtypes, name))


def dtype_name(dtype: Any) -> str:
    """Return the canonical name of a dtype given as a name, short or long, or as an object of NumPy, JAX or torch."""
    if isinstance(dtype, str):
        if dtype in FLOATS:
            return dtype
        dtype = _SHORT.get(dtype, dtype)
        if dtype in FLOATS:
            return str(dtype)
    elif type(dtype).__module__.partition(".")[0] == "torch" and type(dtype).__name__ == "dtype":
        # NumPy does not read these; they print as torch.float16
        return dtype_name(str(dtype).rpartition(".")[2])
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
    except Exception:  # an object's own `dtype` may raise anything
        hint = nearest(dtype, (*STORED, *_SHORT)) if isinstance(dtype, str) else ""
        raise TypeError(f"dtype must be {', '.join(FLOATS)} or a NumPy dtype, not {shown(dtype)}{hint}") from None
    if not found.isnative:
        raise ValueError(f"dtype must be in native byte order, not {found.str!r}")
    if found.kind not in "biufcV" or (found.kind == "V" and found.name not in _FOREIGN):
        raise TypeError(f"dtype must be boolean, integer, real or complex, not {found}")
    return found.name


def float_name(dtype: Any) -> str:
    """Return the canonical name of a floating-point dtype that kernels draw."""
    name = dtype_name(dtype)
    if name not in FLOATS:
        raise ValueError(f"dtype must be one of {', '.join(FLOATS)}, not {name!r}")
    return name


def numpy_dtype(name: str) -> np.dtype:
    """Return the NumPy dtype of a canonical name."""
    return _foreign(name) if name in _FOREIGN else np.dtype(name)


def element_dtype(name: str) -> np.dtype:
    """Return what elements of a dtype are in memory without ml_dtypes: words for those that NumPy has not."""
    return WORDS[name] if name in _FOREIGN else np.dtype(name)


def as_words(array: np.ndarray, name: str) -> np.ndarray:
    """Give an array as kernels take it: a view of its words where its dtype is a narrow one."""
    words = WORDS.get(name)
    return array if words is None else array.view(words)


def itemsize(name: str) -> int:
    """Return the bytes of one element."""
    return element_dtype(name).itemsize


def name_of_array(dtype: np.dtype) -> str:
    """Return the canonical name of a destination's dtype."""
    name = _names.get(dtype)
    if name is None:
        if not dtype.isnative:
            raise ValueError(f"out must be in native byte order, not {dtype.str!r}")
        name = dtype.name
        if name in _FOREIGN:
            _names[dtype] = name
    return name


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Allocate an array, untouched; MemoryError where that is impossible."""
    try:
        return np.empty(shape, dtype)
    except ValueError:  # NumPy's word for more bytes than an address can count
        raise MemoryError(f"cannot allocate an array of shape {shape} and dtype {dtype}") from None


# ---- rounding of numbers

LARGEST = {
    "float8_e4m3fn": 448.0,
    "float8_e5m2": 57344.0,
    "float16": 65504.0,
    "bfloat16": float.fromhex("0x1.fep+127"),
    "float32": float.fromhex("0x1.fffffep+127"),
    "float64": float.fromhex("0x1.fffffffffffffp+1023"),
}


# digits of the significand, exponent of the smallest number
_FORMATS = {"float64": (53, -1074), "float32": (24, -149), "float16": (11, -24), "bfloat16": (8, -133)}
_FORMATS |= {"float8_e4m3fn": (4, -9), "float8_e5m2": (3, -16)}


def nearest_value(dtype: str, x: float) -> tuple[int, int]:
    """Find the value of the type nearest to |x|, ties to even, as (significand, exponent).

    In integers, so that no floating-point mode of the process can flush what is small.
    """
    digits, smallest = _FORMATS[dtype]
    exponent = max(math.frexp(x)[1] - digits, smallest) if x else smallest
    return round(math.ldexp(abs(x), -exponent)), exponent


def rounded(dtype: str, x: float) -> float:
    """Round to the nearest value of a type, ties to even; beyond its range to infinity."""
    value = math.ldexp(*nearest_value(dtype, x)) if dtype != "float64" else abs(x)
    return math.copysign(value if value <= LARGEST[dtype] else math.inf, x)


def arithmetic(dtype: str, x: float) -> float:
    """Round to the type in which a law of this dtype is computed."""
    return x if dtype == "float64" else rounded("float32", x)


def scale_in(dtype: str, scale: float) -> float:
    """Round the scale of added noise to the type in which a law is computed; ValueError where it is lost there."""
    found = arithmetic(dtype, scale)
    wide = "float64" if dtype == "float64" else "float32"
    if math.isinf(found):
        raise ValueError(f"scale {scale!r} is beyond the range of {dtype}")
    if scale and not found:
        raise ValueError(f"scale {scale!r} is 0 in {wide}, in which noise is added to {dtype}: nothing would change")
    return found


def below(dtype: str, x: float) -> float:
    """Find the largest value of the dtype that is less than x (x no further out than the type's range)."""
    nearest = rounded(dtype, x)
    if nearest < x:
        return nearest
    digits, smallest = _FORMATS[dtype]
    significand, exponent = nearest_value(dtype, x)
    if nearest <= 0:
        return -math.ldexp(significand + 1, exponent)
    if significand == 1 << (digits - 1) and exponent > smallest:  # numbers are twice as close below a power of two
        significand, exponent = 2 * significand, exponent - 1
    return math.ldexp(significand - 1, exponent)


# ---- rounding of arrays


def widen(block: np.ndarray, dtype: str) -> np.ndarray:
    """Give elements as numbers: those that NumPy has not, held as words, in float32."""
    from winit._kernels.numpy_halves import ROUND

    return ROUND[dtype][1](block) if dtype in _FOREIGN else block


def _to_odd(x: np.ndarray) -> np.ndarray:
    """Round float64 to float32 so that a second rounding, to less, gives what one would: inexact results are odd.

    Source: Boldo, Melquiond 2008, "Emulation of FMA and correctly rounded sums".
    """
    near = x.astype(np.float32)
    back = near.astype(np.float64)
    bits = near.view(np.uint32)
    toward_zero = bits - (np.abs(back) > np.abs(x))  # one less in size; a positive word in sign and magnitude
    return np.where((back == x) | np.isnan(x), bits, toward_zero | 1).astype(np.uint32).view(np.float32)


def convert(block: np.ndarray, source: str, dtype: str, what: str) -> np.ndarray:
    """Convert elements of one floating-point dtype to another with one rounding, to nearest even.

    ValueError, which begins with `what`, for a value beyond the range of the new dtype: a finite one, or an infinity
    where it has none.
    """
    from winit._kernels.numpy_halves import ROUND

    if source == dtype:
        return block
    with _kernels.default_float_mode(), np.errstate(all="ignore"):
        numbers = widen(block, source)
        if dtype in _FOREIGN:
            narrow = _to_odd(numbers) if source == "float64" else numbers.astype(np.float32)
            out = ROUND[dtype][0](narrow)
        else:
            out = numbers.astype(dtype)
        wide = widen(out, dtype)
        lost = ~(np.isfinite(wide) | np.isnan(numbers)) & ~(np.isinf(wide) & np.isinf(numbers))
        if lost.any():
            beyond = np.abs(numbers[lost])
            largest = beyond[np.isfinite(beyond)].max(initial=0.0) or np.inf
            raise ValueError(f"{what} has the value {largest:g}, beyond the range of {dtype}")
    return out
