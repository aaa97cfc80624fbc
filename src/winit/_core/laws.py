"""Laws: what a scheme resolves to, the only thing kernels know. A small closed set of frozen records.

A law checks its numbers, rounds them once to the arithmetic type of the dtype (float32 for the half types), works out
what the kernel needs besides, and states its moments in closed form.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

from winit._core.records import Record

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = [
    "Constant",
    "Law",
    "Moments",
    "Normal",
    "Padded",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "Whole",
    "arithmetic",
    "cos_of_turns",
    "cut",
    "exp",
    "integer",
    "normal_cdf",
    "not_negative",
    "real",
]


class Moments(NamedTuple):
    """Mean, standard deviation and end-points of a law."""

    mean: float
    std: float
    low: float
    high: float


# ---- rounding

LARGEST = {
    "float16": 65504.0,
    "bfloat16": float.fromhex("0x1.fep+127"),
    "float32": float.fromhex("0x1.fffffep+127"),
    "float64": float.fromhex("0x1.fffffffffffffp+1023"),
}


# digits of the significand, exponent of the smallest number
_FORMATS = {"float64": (53, -1074), "float32": (24, -149), "float16": (11, -24), "bfloat16": (8, -133)}


def _nearest(dtype: str, x: float) -> tuple[int, int]:
    """The value of the type nearest to |x|, ties to even, as (significand, exponent).

    In integers, so that no floating-point mode of the process can flush what is small.
    """
    digits, smallest = _FORMATS[dtype]
    exponent = max(math.frexp(x)[1] - digits, smallest) if x else smallest
    return round(math.ldexp(abs(x), -exponent)), exponent


def rounded(dtype: str, x: float) -> float:
    """Round to the nearest value of a type, ties to even; beyond its range to infinity."""
    value = math.ldexp(*_nearest(dtype, x)) if dtype != "float64" else abs(x)
    return math.copysign(value if value <= LARGEST[dtype] else math.inf, x)


def arithmetic(dtype: str, x: float) -> float:
    """Round to the type in which a law of this dtype is computed."""
    return x if dtype == "float64" else rounded("float32", x)


def below(dtype: str, x: float) -> float:
    """Find the largest value of the dtype that is less than x (x no further out than the type's range)."""
    nearest = rounded(dtype, x)
    if nearest < x:
        return nearest
    digits, smallest = _FORMATS[dtype]
    significand, exponent = _nearest(dtype, x)
    if nearest <= 0:
        return -math.ldexp(significand + 1, exponent)
    if significand == 1 << (digits - 1) and exponent > smallest:  # numbers are twice as close below a power of two
        significand, exponent = 2 * significand, exponent - 1
    return math.ldexp(significand - 1, exponent)


def real(value: Any, what: str) -> float:
    """Return a finite number as a float, or say what is wrong with it."""
    if type(value) is float and math.isfinite(value):
        return value
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if isinstance(value, (bool, complex, str, bytes)) or not hasattr(value, "__float__") or kind in ("b", "c"):
        raise TypeError(f"{what} must be a number, not {value!r}")
    try:
        number = float(value)
    except TypeError:
        raise TypeError(f"{what} must be a number, not {value!r}") from None
    except OverflowError:
        raise ValueError(f"{what} must be within the range of float64") from None
    if not math.isfinite(number):
        raise ValueError(f"{what} must be finite, not {number!r}")
    return number


def not_negative(value: Any, what: str) -> float:
    """Return a finite number that is at least 0 as a float, or say what is wrong with it."""
    number = real(value, what)
    if number < 0:
        raise ValueError(f"{what} must not be negative, not {number!r}")
    return number


def integer(value: Any, what: str, least: int = 1) -> int:
    """Return an integer that is at least `least`, or say what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{what} must be an integer, not {type(value).__name__}")
    if value.__index__() < least:
        raise ValueError(f"{what} must be at least {least}, not {value}")
    return value.__index__()


# ---- Phi and exp, the same on every system

# pi to 60 digits; Decimal's exp and sqrt are correctly rounded by its specification, libm's are not.
_PI = "3.14159265358979323846264338327950288419716939937510582097494"


def _sixty_digits() -> Any:
    """A decimal context of our own, whatever traps and precision the caller's has."""
    import decimal

    return decimal.localcontext(
        decimal.Context(
            prec=60, rounding=decimal.ROUND_HALF_EVEN, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, clamp=0, traps=[]
        )
    )


def _density(x: Decimal) -> Decimal:
    return (-x * x / 2).exp() / (2 * type(x)(_PI)).sqrt()


def _lower_tail(x: Decimal) -> Decimal:
    """Φ(x): a power series near 0, Laplace's continued fraction in the tails (Abramowitz & Stegun 26.2.11, 26.2.14)."""
    z = abs(x)
    if z < 4:
        term = total = z
        odd = 1
        while abs(term) > type(x)("1e-62"):
            odd += 2
            term = term * z * z / odd
            total += term
        tail = type(x)("0.5") - _density(z) * total
    else:
        fraction = z
        for level in range(160, 0, -1):
            fraction = z + level / fraction
        tail = _density(z) / fraction
    return tail if x < 0 else 1 - tail


def _mass(low: Decimal, high: Decimal) -> Decimal:
    """Φ(high) - Φ(low), on the tail that does not cancel."""
    return _lower_tail(high) - _lower_tail(low) if high <= 0 else _lower_tail(-low) - _lower_tail(-high)


@lru_cache(maxsize=1024)
def normal_cdf(x: float) -> float:
    """Compute Φ(x), the standard normal distribution function, rounded to the nearest float64.

    >>> normal_cdf(-2.0)
    0.02275013194817921
    """
    from decimal import Decimal

    with _sixty_digits():
        return float(_lower_tail(Decimal(x)))


@lru_cache(maxsize=1024)
def exp(x: float) -> float:
    """Compute e^x, rounded to the nearest float64.

    >>> exp(1.0)
    2.718281828459045
    """
    from decimal import Decimal

    with _sixty_digits():
        return float(Decimal(x).exp())


def cos_of_turns(part: int, whole: int) -> float:
    """Compute cos(2 pi part / whole), rounded to the nearest float64.

    >>> cos_of_turns(1, 6)
    0.5
    """
    from decimal import Decimal

    eighths, part = divmod(8 * (part % whole), whole)  # eighths of a turn, and the rest of one
    with _sixty_digits():
        odd = eighths % 2
        x = 2 * Decimal(_PI) * (whole - part if odd else part) / (8 * whole)
        first = 1 if (eighths + 1) // 2 % 2 else 0  # the sine's series, or the cosine's
        term = total = x if first else Decimal(1)
        k = first
        while abs(term) > Decimal("1e-62"):
            term = -term * x * x / ((k + 1) * (k + 2))
            total += term
            k += 2
        return float(-total if 2 <= eighths < 6 else total)


# ---- the laws


def _check_range(what: str, largest: float, dtype: str) -> None:
    if not largest <= LARGEST[dtype]:
        raise ValueError(f"{what} reaches {largest:.6g}, beyond the range of {dtype} (±{LARGEST[dtype]:.6g})")


class Constant(Record):
    """One value everywhere; no words of the stream."""

    __slots__ = ("value",)
    value: int | float | bool

    def __init__(self, value: int | float | bool) -> None:
        self._set(value)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The kernel's numbers: (value,)."""
        try:
            value = arithmetic(dtype, float(self.value))
        except OverflowError:
            value = math.inf
        _check_range(f"constant({self.value!r})", abs(value), dtype)
        return (value,)

    def moments(self) -> Moments:
        value = float(self.value)
        return Moments(value, 0.0, value, value)


class Uniform(Record):
    """low + (high - low) u, u a multiple of 2^-24 (2^-53 in float64) in [0, 1)."""

    __slots__ = ("high", "low")
    low: float
    high: float

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
        if dtype in ("float16", "bfloat16"):
            # What is less than half-way from the largest value below high to its upper neighbour rounds to it.
            top = below(dtype, high)
            tie = (top - below(dtype, -top)) / 2
            even = _nearest(dtype, top)[0] % 2 == 0
            cap = min(cap, tie if even else below("float32", tie))
        return low, span, cap

    def moments(self) -> Moments:
        return Moments((self.low + self.high) / 2, (self.high - self.low) / math.sqrt(12), self.low, self.high)


class Normal(Record):
    """mean + std z, z by Box-Muller: |z| <= 6.77 (8.66 in float64)."""

    __slots__ = ("mean", "std")
    mean: float
    std: float

    def __init__(self, mean: float, std: float) -> None:
        self._set(mean, std)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The kernel's numbers: (mean, std)."""
        reach = 8.66 if dtype == "float64" else 6.77
        _check_range(f"normal({self.mean!r}, {self.std!r})", abs(self.mean) + reach * self.std, dtype)
        return arithmetic(dtype, self.mean), arithmetic(dtype, self.std)

    def moments(self) -> Moments:
        return Moments(self.mean, self.std, -math.inf, math.inf)


class TruncatedNormal(Record):
    """mean + std z, z standard normal cut to [low, high], which are in units of std."""

    __slots__ = ("high", "low", "mean", "std")
    mean: float
    std: float
    low: float
    high: float

    def __init__(self, mean: float, std: float, low: float, high: float) -> None:
        self._set(mean, std, low, high)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The kernel's numbers: (mean, std, low, high, below, above, step, threshold, far)."""
        double = dtype == "float64"
        low, high = arithmetic(dtype, self.low), arithmetic(dtype, self.high)
        text = f"truncated_normal({self.mean!r}, {self.std!r}, {self.low!r}, {self.high!r})"
        if not low < high:
            raise ValueError(f"{text} is empty in {dtype}: its cuts round to {low!r} and {high!r}")
        # Φ of a cut further out is so near the smallest number of the type that the quantile would lose its digits.
        reach = 36 if double else 12
        if low > reach or high < -reach:
            raise ValueError(f"{text} lies beyond {reach} standard deviations, where {dtype} cannot resolve the tail")
        # The smallest t is 2^-25 (2^-54) of the mass beyond the nearer cut: z^2 grows by 2 ln of that at most.
        farthest = math.sqrt(max(low, -high, 0.0) ** 2 + (75 if double else 34.7))
        farthest = min(farthest, max(abs(low), abs(high)))
        _check_range(text, self.std * farthest, "float64" if double else "float32")
        ends = max(abs(self.mean + self.std * low), abs(self.mean + self.std * high))
        _check_range(text, min(ends, abs(self.mean) + farthest * self.std), dtype)
        left, right, mass, threshold = _split(low, high, 53 if double else 24)
        count = 1 << (53 if double else 24)
        smallest = min(
            left + 0.5 / count * mass if threshold > 0 else 0.5,
            right + 0.5 / count * mass if threshold < count else 0.5,
        )
        far = smallest < (3.4e-4 if double else 1.1e-3)
        numbers = (self.mean, self.std, low, high, left, right, mass / count)
        return (*(arithmetic(dtype, x) for x in numbers), float(threshold), float(far))

    def moments(self) -> Moments:
        shift, width = _truncated_moments(self.low, self.high)
        ends = self.mean + self.std * self.low, self.mean + self.std * self.high
        return Moments(self.mean + self.std * shift, self.std * width, *ends)


def cut(low: float = -2.0, high: float = 2.0, dtype: str = "float32") -> tuple[float, ...]:
    """Work out what compiled code needs to know of a truncated normal's cuts: seven numbers.

    low, high, below = Φ(low), above = Φ(-high), step = (Φ(high) - Φ(low))·2⁻²⁴ (float64: 2⁻⁵³), threshold and far.

    Parameters
    ----------
    low, high : float, low < high, in units of std.
    dtype : "float32" (for the half types too) or "float64".

    Raises
    ------
    TypeError, ValueError : as winit.truncated_normal; another dtype.

    Source: docs/streams.md, "truncated".

    >>> cut()[:2]
    (-2.0, 2.0)

    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', not {dtype!r}")
    return TruncatedNormal(0.0, 1.0, real(low, "low"), real(high, "high")).params(dtype)[2:]


@lru_cache(maxsize=1024)
def _split(low: float, high: float, bits: int) -> tuple[float, float, float, int]:
    """Φ(low), Φ(-high), the mass D between them, and how many n have Φ(low) + (n + ½) 2^-bits D <= ½."""
    from decimal import ROUND_FLOOR, Decimal

    with _sixty_digits():
        left, right = _lower_tail(Decimal(low)), _lower_tail(-Decimal(high))
        mass = _mass(Decimal(low), Decimal(high))
        half = Decimal("0.5")
        last = ((half - left) / mass * (1 << bits) - half).to_integral_value(ROUND_FLOOR)
        return float(left), float(right), float(mass), max(0, min(1 << bits, int(last) + 1))


@lru_cache(maxsize=1024)
def _truncated_moments(low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of the standard normal cut to [low, high].

    With many more digits than the masses need: for a narrow cut nearly all of them cancel.
    """
    from decimal import Decimal

    with _sixty_digits():
        a, b = Decimal(low), Decimal(high)
        if b - a < Decimal("1e-9"):  # uniform to within 1e-18 of itself
            return float((a + b) / 2), float((b - a) / Decimal(12).sqrt())
        mass = _mass(a, b)
        shift = (_density(a) - _density(b)) / mass
        variance = 1 + (a * _density(a) - b * _density(b)) / mass - shift * shift
        return float(shift), float(max(variance, Decimal(0)).sqrt())


class Sparse(Record):
    """mean + std z at `keep` distinct inputs of each unit, uniformly chosen; 0 at the others.

    units: of each axis of the shape, whether it counts units rather than the inputs of one.
    """

    __slots__ = ("keep", "mean", "shape", "std", "units")
    mean: float
    std: float
    keep: int
    shape: tuple[int, ...]
    units: tuple[bool, ...]

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
        share = self.keep / self.inputs if self.inputs else 0.0
        mean = share * self.mean
        variance = share * (self.std * self.std + self.mean * self.mean) - mean * mean
        end = math.inf if self.keep else 0.0
        return Moments(mean, math.sqrt(max(variance, 0.0)), -end, end)


class Padded(Record):
    """A law of independent elements, but 0 along one index of the first axis; `row` elements are one index of it."""

    __slots__ = ("index", "inner", "row", "size")
    inner: Any
    index: int
    row: int
    size: int

    def __init__(self, inner: Any, index: int, row: int, size: int) -> None:
        self._set(inner, index, row, size)

    def params(self, dtype: str) -> tuple[float, ...]:
        """The inner law's numbers."""
        numbers: tuple[float, ...] = self.inner.params(dtype)
        return numbers

    def moments(self) -> Moments:
        inner: Moments = self.inner.moments()
        share = 1 - self.row / self.size if self.size else 1.0
        mean = share * inner.mean
        variance = share * (inner.std * inner.std + inner.mean * inner.mean) - mean * mean
        return Moments(mean, math.sqrt(max(variance, 0.0)), min(inner.low, 0.0), max(inner.high, 0.0))


class Whole(Record):
    """A tensor that is made at once and then sliced; `maker`, a scheme, makes it."""

    __slots__ = ("layout", "maker", "shape")
    maker: Any
    shape: tuple[int, ...]
    layout: Any

    def __init__(self, maker: Any, shape: tuple[int, ...], layout: Any) -> None:
        self._set(maker, shape, layout)

    def params(self, dtype: str) -> tuple[float, ...]:
        """No numbers: the maker has its own."""
        _check_range(repr(self.maker), self.maker.reach(self.shape, self.layout), dtype)
        return ()

    def moments(self) -> Moments:
        found: Moments = self.maker.whole_moments(self.shape, self.layout)
        return found


Law = Constant | Uniform | Normal | TruncatedNormal | Sparse | Padded | Whole
