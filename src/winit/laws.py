"""Laws: what a scheme resolves to, the only thing kernels know. A small closed set of frozen records.

A law checks its numbers, rounds them once to the arithmetic type of the dtype (float32 for the half types), works out
what the kernel needs besides, and states its moments in closed form.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import NamedTuple

from winit.record import Record

__all__ = ["Constant", "Law", "Moments", "Normal", "TruncatedNormal", "Uniform", "exp", "normal_cdf"]


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


def to_float32(x: float) -> float:
    """Round to the nearest float32, ties to even; beyond its range to infinity."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


def arithmetic(dtype: str, x: float) -> float:
    """Round to the type in which a law of this dtype is computed."""
    return x if dtype == "float64" else to_float32(x)


# float format, integer format of the same width, and what one step of the type adds to that integer
_FORMATS = {"float32": ("<f", "<i", 1), "float16": ("<e", "<h", 1), "bfloat16": ("<f", "<i", 1 << 16)}


def _encode(dtype: str, x: float) -> int:
    """The bits of the value of the type nearest to x, as a signed integer."""
    code, integer, step = _FORMATS[dtype]
    bits = int(struct.unpack(integer, struct.pack(code, x))[0])
    return bits if step == 1 else (bits + 0x7FFF + (bits >> 16 & 1)) & ~0xFFFF


def _decode(dtype: str, bits: int) -> float:
    code, integer, _ = _FORMATS[dtype]
    return float(struct.unpack(code, struct.pack(integer, bits))[0])


def below(dtype: str, x: float) -> float:
    """Find the largest value of the dtype that is less than x (x no further out than the type's range)."""
    if dtype == "float64":
        return math.nextafter(x, -math.inf)
    bits = _encode(dtype, x)
    nearest = _decode(dtype, bits)
    if nearest < x:
        return nearest
    step = _FORMATS[dtype][2]
    if nearest == 0.0:
        return -_decode(dtype, step)
    return _decode(dtype, bits - step if nearest > 0 else bits + step)


# ---- Phi and exp, the same on every system

# pi to 60 digits; Decimal's exp and sqrt are correctly rounded by its specification, libm's are not.
_PI = "3.14159265358979323846264338327950288419716939937510582097494"


@lru_cache(maxsize=1024)
def normal_cdf(x: float) -> float:
    """Compute Φ(x), the standard normal distribution function, rounded to the nearest float64.

    A power series near 0 and Laplace's continued fraction in the tails (Abramowitz & Stegun 26.2.11, 26.2.14), in 60
    decimal digits.

    >>> normal_cdf(-2.0)
    0.02275013194817921
    """
    import decimal

    with decimal.localcontext() as context:
        context.prec = 60
        context.Emin, context.Emax = decimal.MIN_EMIN, decimal.MAX_EMAX
        z = abs(decimal.Decimal(x))
        density = (-z * z / 2).exp() / (2 * decimal.Decimal(_PI)).sqrt()
        if z < 4:
            term = total = z
            odd = 1
            while term > decimal.Decimal("1e-58"):
                odd += 2
                term = term * z * z / odd
                total += term
            tail = decimal.Decimal("0.5") - density * total
        else:
            fraction = z
            for level in range(160, 0, -1):
                fraction = z + level / fraction
            tail = density / fraction
        return float(tail if x < 0 else 1 - tail)


@lru_cache(maxsize=1024)
def exp(x: float) -> float:
    """Compute e^x, rounded to the nearest float64.

    >>> exp(1.0)
    2.718281828459045
    """
    import decimal

    with decimal.localcontext() as context:
        context.prec = 60
        context.Emin, context.Emax = decimal.MIN_EMIN, decimal.MAX_EMAX
        return float(decimal.Decimal(x).exp())


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
            even = _encode(dtype, top) & _FORMATS[dtype][2] == 0
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

    def _masses(self, low: float, high: float) -> tuple[float, float, float]:
        """Φ(low), Φ(-high) and Φ(high) - Φ(low), the last from the tail that does not cancel."""
        left, right = normal_cdf(low), normal_cdf(-high)
        if high <= 0:
            return left, right, normal_cdf(high) - left
        if low >= 0:
            return left, right, normal_cdf(-low) - right
        return left, right, 1 - left - right

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
        ends = max(abs(self.mean + self.std * low), abs(self.mean + self.std * high))
        # The smallest t is 2^-25 (2^-54) of the mass beyond the nearer cut: z^2 grows by 2 ln of that at most.
        farthest = math.sqrt(max(low, -high, 0.0) ** 2 + (75 if double else 34.7))
        _check_range(text, min(ends, abs(self.mean) + farthest * self.std), dtype)
        left, right, mass = self._masses(low, high)
        count = 1 << (53 if double else 24)
        # The number of n with Φ(low) + (n + ½) mass / count <= ½.
        threshold = max(0, min(count, math.floor((0.5 - left) / mass * count - 0.5) + 1))
        smallest = min(
            left + 0.5 / count * mass if threshold > 0 else 0.5,
            right + 0.5 / count * mass if threshold < count else 0.5,
        )
        far = smallest < (3.4e-4 if double else 1.1e-3)
        numbers = (self.mean, self.std, low, high, left, right, mass / count)
        return (*(arithmetic(dtype, x) for x in numbers), float(threshold), float(far))

    def moments(self) -> Moments:
        _, _, mass = self._masses(self.low, self.high)
        root = math.sqrt(2 * math.pi)
        at_low, at_high = exp(-self.low * self.low / 2) / root, exp(-self.high * self.high / 2) / root
        shift = (at_low - at_high) / mass
        variance = 1 + (self.low * at_low - self.high * at_high) / mass - shift * shift
        ends = self.mean + self.std * self.low, self.mean + self.std * self.high
        return Moments(self.mean + self.std * shift, self.std * math.sqrt(max(variance, 0.0)), *ends)


Law = Constant | Uniform | Normal | TruncatedNormal
