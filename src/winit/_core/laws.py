"""Laws: what a scheme resolves to, the only thing kernels know. A small closed set of frozen records.

A law checks its numbers, rounds them once to the arithmetic type of the dtype (float32 for the narrow ones), works out
what the kernel needs besides, states its moments in closed form, and binds itself to a destination.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from winit import _kernels
from winit._core.bounds import Bound, Destination, Nothing, Whole, bind_by_parts
from winit._core.checks import check_cuts, check_one_of
from winit._core.dtypes import FLOATS, LARGEST, WORDS, arithmetic, as_words, below, nearest_value
from winit._core.exact import truncated_masses, truncated_moments
from winit._core.records import Record
from winit._core.running import ByHost
from winit._core.shapes import locate, row_major_steps

__all__ = [
    "INDEPENDENT",
    "Constant",
    "Law",
    "Literal",
    "Moments",
    "Normal",
    "Padded",
    "Parted",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "bind_to",
    "cut",
    "drawn_on_devices",
    "mixture",
]


_CODES = {name: code for code, name in enumerate(_kernels.DTYPES)}


class Moments(NamedTuple):
    """Mean, standard deviation and end-points of a law."""

    mean: float
    std: float
    low: float
    high: float


def mixture(found: Sequence[Moments], sizes: Sequence[int]) -> Moments:
    """Mix the moments of parts of a tensor, in the proportion of their sizes."""
    weights = [size / max(sum(sizes), 1) for size in sizes]
    mean = math.fsum(weight * each.mean for weight, each in zip(weights, found, strict=True))
    square = math.fsum(
        weight * (each.std * each.std + (each.mean - mean) ** 2) for weight, each in zip(weights, found, strict=True)
    )
    return Moments(mean, math.sqrt(square), min(each.low for each in found), max(each.high for each in found))


class Law(Protocol):
    """What all laws offer."""

    def __hash__(self) -> int: ...

    any_dtype: bool  # whether it has values in dtypes that kernels do not draw, such as integers

    def params(self, dtype: str) -> tuple[float, ...]:
        """Check the law for a dtype, and return the kernel's numbers."""
        ...

    def moments(self) -> Moments:
        """Mean, std, low and high in closed form."""
        ...

    def bind(self, to: Destination) -> Bound:
        """Bind the law to a destination."""
        ...


def _check_range(what: str, largest: float, dtype: str) -> None:
    if not largest <= LARGEST[dtype]:
        raise ValueError(f"{what} reaches {largest:.6g}, beyond the range of {dtype} (±{LARGEST[dtype]:.6g})")


class _KernelLaw(Record):
    """A law that a kernel of the engine draws; what the kernel needs is worked out once a dtype and kept with it."""

    __slots__ = ("_numbers",)
    _numbers: dict[str, tuple[float, ...]]
    kernel: ClassVar[int]
    any_dtype = False

    def _set(self, *values: Any, identity: tuple[Any, ...] | None = None) -> None:
        super()._set(*values, identity=identity)
        object.__setattr__(self, "_numbers", {})

    def params(self, dtype: str) -> tuple[float, ...]:
        raise NotImplementedError

    def numbers(self, dtype: str) -> tuple[float, ...]:
        """Return params(dtype), worked out once, in the default floating-point mode."""
        found = self._numbers.get(dtype)
        if found is None:
            with _kernels.default_float_mode():
                found = self._numbers[dtype] = self.params(dtype)
        return found

    def numbers_for(self, to: Destination) -> tuple[float, ...]:
        """Return what a destination needs: what is added is the value before it is rounded to a narrow type."""
        return self.numbers("float32" if to.scale is not None and to.dtype in WORDS else to.dtype)

    def fill_memory(self, address: int, size: int, dtype: str, key: tuple[int, int]) -> bool:
        """Fill contiguous memory with elements 0.. of a stream, in this thread; False where the engine cannot.

        What a Fill over an array does, for small tensors: to make an array over those was half of a call.
        """
        _, engine, isa = _kernels.in_use()
        fill = getattr(engine, "fill_memory", None)
        if fill is None or dtype not in _CODES:
            return False
        fill(isa, self.kernel, _CODES[dtype], key, self.numbers(dtype), address, size)
        return True

    def bind(self, to: Destination) -> Bound:
        """Bind the law to its kernel."""
        out, dtype = to.out, to.dtype
        if out.size == 0:
            return Nothing()
        if to.box is None:
            start, steps = to.offset, row_major_steps(to.shape)
        else:
            _, start, steps = locate(to.shape, to.box)
            start += to.offset
        engine, isa = _kernels.drawing_for(out)
        words = as_words(out, dtype) if dtype in WORDS and isinstance(out, np.ndarray) else out
        numbers = self._numbers.get(dtype) if to.scale is None else None
        if numbers is None:
            numbers = self.numbers_for(to)
        bound: Bound = engine.Fill(isa, self.kernel, _CODES[dtype], to.key, numbers, words, start, steps, to.scale)
        return bound


class Constant(_KernelLaw):
    """One value everywhere; no words of the stream."""

    __slots__ = ("value",)
    value: int | float | bool
    kernel = _kernels.LAWS.index("constant")
    any_dtype = True

    def __init__(self, value: int | float | bool) -> None:
        self._set(value)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The kernel's numbers: (value,); none in a dtype that kernels do not draw."""
        if dtype not in FLOATS:
            _cast(np.asarray(self.value), dtype, self._text())
            return ()
        try:
            value = arithmetic(dtype, float(self.value))
        except OverflowError:
            value = math.inf
        _check_range(self._text(), abs(value), dtype)
        return (value,)

    def moments(self) -> Moments:
        value = float(self.value)
        return Moments(value, 0.0, value, value)

    def bind(self, to: Destination) -> Bound:
        if to.dtype in FLOATS:
            return _KernelLaw.bind(self, to)
        value = _cast(np.asarray(self.value), to.dtype, self._text())
        return Whole(to, lambda threads: value)

    def _text(self) -> str:
        return f"constant({self.value!r})"


class Literal(Record):
    """The values given; equality and hash go by their bytes, which a scheme has made once (`identity`)."""

    __slots__ = ("values",)
    values: np.ndarray
    any_dtype = True

    def __init__(self, values: np.ndarray, identity: tuple[Any, ...]) -> None:
        self._set(values, identity=identity)

    def params(self, dtype: str) -> tuple[float, ...]:
        """No numbers; whether the dtype has the values."""
        self._cast(dtype)
        return ()

    def moments(self) -> Moments:
        wide = self.values.astype(np.float64)
        return Moments(float(wide.mean()), float(wide.std()), float(wide.min()), float(wide.max()))

    def bind(self, to: Destination) -> Bound:
        values = self._cast(to.dtype)
        return Whole(to, lambda threads: values) if to.out.size else Nothing()

    def _cast(self, dtype: str) -> np.ndarray:
        return _literal_values(self, dtype)


@lru_cache(maxsize=16)
def _literal_values(law: Literal, dtype: str) -> np.ndarray:
    text = f"literal({law.values.tolist()!r})" if law.values.size <= 8 else "the literal array"
    return _cast(law.values, dtype, text)


def _cast(given: np.ndarray, dtype: str, what: str) -> np.ndarray:
    """Give exact values in a dtype, for narrow types in float32; ValueError for those that the dtype does not have."""
    kind = np.dtype(np.float32) if dtype in WORDS else np.dtype(dtype)
    if kind.kind not in "biufc":
        raise TypeError(f"dtype must be boolean, integer, real or complex, not {dtype}")
    try:
        with np.errstate(all="ignore"), _kernels.default_float_mode():
            cast = given.astype(kind)
    except OverflowError:
        raise ValueError(f"{what} holds values that {dtype} does not have") from None
    if kind.kind in "biu":
        same = all(a == b for a, b in zip(given.ravel().tolist(), cast.ravel().tolist(), strict=True))
    elif dtype in LARGEST:  # rounding is allowed, leaving the range is not
        same = bool((np.abs(cast) <= LARGEST[dtype]).all())
    else:
        same = bool(np.isfinite(cast).all())
    if not same:
        raise ValueError(f"{what} holds values that {dtype} does not have")
    return cast


class Uniform(_KernelLaw):
    """low + (high - low) u, u a multiple of 2^-24 (2^-53 in float64) in [0, 1)."""

    __slots__ = ("high", "low")
    low: float
    high: float
    kernel = _kernels.LAWS.index("uniform")

    def __init__(self, low: float, high: float) -> None:
        self._set(low, high)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The kernel's numbers: (low, span, cap)."""
        low, high = arithmetic(dtype, self.low), arithmetic(dtype, self.high)
        text = f"uniform({self.low!r}, {self.high!r})"
        if not low < high:
            raise ValueError(f"{text} is empty in {dtype}: its ends round to {low!r} and {high!r}")
        _check_range(text, max(abs(low), abs(high)), dtype)
        span = arithmetic(dtype, high - low)
        if math.isinf(span):
            raise ValueError(f"{text} spans more than {dtype} can hold")
        cap = below("float64" if dtype == "float64" else "float32", high)
        if dtype in WORDS:
            # What is less than half-way from the largest value below high to its upper neighbour rounds to it.
            top = below(dtype, high)
            tie = (top - below(dtype, -top)) / 2
            even = nearest_value(dtype, top)[0] % 2 == 0
            cap = min(cap, tie if even else below("float32", tie))
        return low, span, cap

    def moments(self) -> Moments:
        return Moments((self.low + self.high) / 2, (self.high - self.low) / math.sqrt(12), self.low, self.high)


class Normal(_KernelLaw):
    """mean + std z, z by Box-Muller: |z| <= 6.77 (8.66 in float64)."""

    __slots__ = ("mean", "std")
    mean: float
    std: float
    kernel = _kernels.LAWS.index("normal")

    def __init__(self, mean: float, std: float) -> None:
        self._set(mean, std)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The kernel's numbers: (mean, std)."""
        reach = 8.66 if dtype == "float64" else 6.77
        _check_range(f"normal({self.mean!r}, {self.std!r})", abs(self.mean) + reach * self.std, dtype)
        return arithmetic(dtype, self.mean), arithmetic(dtype, self.std)

    def moments(self) -> Moments:
        return Moments(self.mean, self.std, -math.inf, math.inf)


class TruncatedNormal(_KernelLaw):
    """mean + std z, z standard normal cut to [low, high], which are in units of std."""

    __slots__ = ("high", "low", "mean", "std")
    mean: float
    std: float
    low: float
    high: float
    kernel = _kernels.LAWS.index("truncated_normal")

    def __init__(self, mean: float, std: float, low: float, high: float) -> None:
        self._set(mean, std, low, high)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The kernel's numbers: (mean, std, low, high, below, above, step, threshold, far)."""
        double = dtype == "float64"
        low, high = (cut if math.isinf(cut) else arithmetic(dtype, cut) for cut in (self.low, self.high))
        text = f"truncated_normal({self.mean!r}, {self.std!r}, {self.low!r}, {self.high!r})"
        if not low < high:
            raise ValueError(f"{text} is empty in {dtype}: its cuts round to {low!r} and {high!r}")
        given = [abs(cut) for cut in (self.low, self.high) if not math.isinf(cut)]
        _check_range(text, max(given, default=0.0), "float64" if double else "float32")
        # Φ of a cut further out is so near the smallest number of the type that the quantile would lose its digits.
        reach = 36 if double else 12
        if low > reach or high < -reach:
            raise ValueError(f"{text} lies beyond {reach} standard deviations, where {dtype} cannot resolve the tail")
        # The smallest t is 2^-25 (2^-54) of the mass beyond the nearer cut: z^2 grows by 2 ln of that at most.
        farthest = math.sqrt(max(low, -high, 0.0) ** 2 + (75 if double else 34.7))
        farthest = min(farthest, max(abs(low), abs(high)))
        _check_range(text, self.std * farthest, "float64" if double else "float32")
        ends = max(abs(self._end(low)), abs(self._end(high)))
        _check_range(text, min(ends, abs(self.mean) + farthest * self.std), dtype)
        left, right, mass, threshold = truncated_masses(low, high, 53 if double else 24)
        count = 1 << (53 if double else 24)
        smallest = min(
            left + 0.5 / count * mass if threshold > 0 else 0.5,
            right + 0.5 / count * mass if threshold < count else 0.5,
        )
        far = smallest < (3.4e-4 if double else 1.1e-3)
        scale = arithmetic(dtype, self.mean), arithmetic(dtype, self.std)
        masses = (arithmetic(dtype, x) for x in (left, right, mass / count))
        return (*scale, low, high, *masses, float(threshold), float(far))

    def _end(self, cut: float) -> float:
        """Where a cut lies; that of no width lies at the mean, however far out it is cut."""
        return self.mean + self.std * cut if self.std else self.mean

    def moments(self) -> Moments:
        shift, width = truncated_moments(self.low, self.high)
        return Moments(self.mean + self.std * shift, self.std * width, self._end(self.low), self._end(self.high))


INDEPENDENT = (Constant, Uniform, Normal, TruncatedNormal)  # laws each of whose elements has a word of its own


def drawn_on_devices(law: Law, dtype: str) -> bool:
    """Tell whether a device has kernels for a law: for its elements alone, or for those of its parts."""
    if isinstance(law, Padded):
        return drawn_on_devices(law.inner, dtype)
    if isinstance(law, Parted):
        return all(drawn_on_devices(part, dtype) for part in law.laws)
    return isinstance(law, INDEPENDENT) and dtype in FLOATS


def bind_to(law: Law, to: Destination) -> Bound:
    """Bind a law to a destination, which may be on a device where the law has no kernels."""
    if isinstance(to.out, np.ndarray) or (to.out.drawable and drawn_on_devices(law, to.dtype)):
        return law.bind(to)
    return ByHost(to, law)


def cut(low: float = -2.0, high: float = 2.0, dtype: str = "float32") -> tuple[float, ...]:
    """Work out what compiled code needs to know of a truncated normal's cuts: seven numbers.

    low, high, below = Φ(low), above = Φ(-high), step = (Φ(high) - Φ(low))·2⁻²⁴ (float64: 2⁻⁵³), threshold and far.

    Parameters
    ----------
    low, high : float, low < high, in units of std; infinite where that side is not cut.
    dtype : "float32" (for narrower types too) or "float64".

    Raises
    ------
    TypeError, ValueError : as winit.truncated_normal; another dtype.

    Source: docs/streams.md, "truncated".

    >>> cut()[:2]
    (-2.0, 2.0)

    """
    check_one_of(dtype, ("float32", "float64"), "dtype")
    return TruncatedNormal(0.0, 1.0, *check_cuts(low, high)).params(dtype)[2:]


class Sparse(_KernelLaw):
    """mean + std z at `keep` distinct inputs of each unit, uniformly chosen; 0 at the others.

    units: of each axis of the shape, whether it counts units rather than the inputs of one.
    """

    __slots__ = ("keep", "mean", "shape", "std", "units")
    mean: float
    std: float
    keep: int
    shape: tuple[int, ...]
    units: tuple[bool, ...]
    any_dtype = False

    def __init__(self, mean: float, std: float, keep: int, shape: tuple[int, ...], units: tuple[bool, ...]) -> None:
        self._set(mean, std, keep, shape, units)

    @property
    def inputs(self) -> int:
        """How many inputs a unit could have."""
        return math.prod(size for size, unit in zip(self.shape, self.units, strict=True) if not unit)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The kernel's numbers: (mean, std)."""
        return Normal(self.mean, self.std).params(dtype)

    def moments(self) -> Moments:
        fraction = self.keep / self.inputs if self.inputs else 0.0
        mean = fraction * self.mean
        variance = fraction * (self.std * self.std + self.mean * self.mean) - mean * mean
        end = math.inf if self.keep else 0.0
        return Moments(mean, math.sqrt(max(variance, 0.0)), -end, end)

    def bind(self, to: Destination) -> Bound:
        if to.out.size == 0:
            return Nothing()
        if isinstance(to.box, range):
            begin: Any = to.box.start
        else:
            begin = tuple(part.start for part in to.box) if to.box is not None else (0,) * len(to.shape)
        _, engine, isa = _kernels.in_use()
        words, numbers = as_words(to.out, to.dtype), self.numbers_for(to)
        bound: Bound = engine.Sparse(
            isa, _CODES[to.dtype], to.key, numbers, self.shape, self.units, self.keep, words, begin, to.scale
        )
        return bound


class Padded(Record):
    """A law of independent elements, but 0 along one index of the first axis; `row` elements are one index of it."""

    __slots__ = ("index", "inner", "row", "size")
    inner: Any
    index: int
    row: int
    size: int
    any_dtype = False

    def __init__(self, inner: Any, index: int, row: int, size: int) -> None:
        self._set(inner, index, row, size)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The inner law's numbers."""
        numbers: tuple[float, ...] = self.inner.params(dtype)
        return numbers

    def moments(self) -> Moments:
        inner: Moments = self.inner.moments()
        fraction = 1 - self.row / self.size if self.size else 1.0
        mean = fraction * inner.mean
        variance = fraction * (inner.std * inner.std + inner.mean * inner.mean) - mean * mean
        return Moments(mean, math.sqrt(max(variance, 0.0)), min(inner.low, 0.0), max(inner.high, 0.0))

    def bind(self, to: Destination) -> Bound:
        if to.out.size == 0:
            return Nothing()
        if isinstance(to.box, range):
            first, row = self.index * self.row - to.box.start, self.row
        else:
            begin = to.box[0].start if to.box else 0
            row = to.out.size // to.out.shape[0]
            first = (self.index - begin) * row
        padding = None if to.scale is not None else Constant(0.0).bind(to)
        return _Padding(self.inner.bind(to), padding, first, first + row)


class _Padding:
    """A destination that one Bound fills but for its positions first..last, which another fills or nobody."""

    def __init__(self, inner: Bound, padding: Bound | None, first: int, last: int) -> None:
        self.inner, self.padding, self.first, self.last = inner, padding, first, last
        self.size, self.queues = inner.size, getattr(inner, "queues", False)

    def run(self, lo: int, hi: int) -> None:
        first, last = (min(max(end, lo), hi) for end in (self.first, self.last))
        self.inner.run(lo, first)
        self.inner.run(last, hi)
        if self.padding is not None:
            self.padding.run(first, last)


class Parted(Record):
    """A law of its own for each part of a tensor along an axis, all of one stream: projections of several sizes."""

    __slots__ = ("axis", "extents", "laws")
    axis: int
    extents: tuple[int, ...]
    laws: tuple[Any, ...]
    any_dtype = False

    def __init__(self, axis: int, extents: tuple[int, ...], laws: tuple[Any, ...]) -> None:
        self._set(axis, extents, laws)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The numbers of all parts."""
        return tuple(number for law in self.laws for number in law.params(dtype))

    def moments(self) -> Moments:
        return mixture([law.moments() for law in self.laws], self.extents)

    def bind(self, to: Destination) -> Bound:
        return bind_by_parts(to, self.axis, self.extents, self.laws) if to.out.size else Nothing()
