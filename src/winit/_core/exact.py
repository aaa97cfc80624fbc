"""Φ, exp and cosines in sixty digits, rounded once: the same float64 on every system. For the parameters of laws.

`decimal` alone is used, whose exp and sqrt are correctly rounded by its specification; libm's are not.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decimal import Decimal
    from fractions import Fraction

__all__ = ["as_written", "cosine_of_turns", "exponential", "normal_cdf", "truncated_masses", "truncated_moments"]

# pi to 60 digits; Decimal's exp and sqrt are correctly rounded by its specification, libm's are not.
_PI = "3.14159265358979323846264338327950288419716939937510582097494"


def as_written(x: float) -> Fraction:
    """Give a finite number as the decimal number that it prints as: what whoever wrote 0.55 meant, of which 100 is 55.

    The float64 nearest to 0.55 is a little more, and 100 times it rounds to 55.00000000000001.

    >>> as_written(0.55) * 100
    Fraction(55, 1)
    """
    from fractions import Fraction

    return Fraction(repr(float(x)))


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
def exponential(x: float) -> float:
    """Compute e^x, rounded to the nearest float64.

    >>> exponential(1.0)
    2.718281828459045
    """
    from decimal import Decimal

    with _sixty_digits():
        return float(Decimal(x).exp())


def cosine_of_turns(count: int, turn: int) -> float:
    """Compute cos(2 pi count / turn), rounded to the nearest float64.

    >>> cosine_of_turns(1, 6)
    0.5
    """
    from decimal import Decimal

    eighths, rest = divmod(8 * (count % turn), turn)  # eighths of a turn, and the rest of one
    with _sixty_digits():
        odd = eighths % 2
        x = 2 * Decimal(_PI) * (turn - rest if odd else rest) / (8 * turn)
        first = 1 if (eighths + 1) // 2 % 2 else 0  # the sine's series, or the cosine's
        term = total = x if first else Decimal(1)
        k = first
        while abs(term) > Decimal("1e-62"):
            term = -term * x * x / ((k + 1) * (k + 2))
            total += term
            k += 2
        return float(-total if 2 <= eighths < 6 else total)


@lru_cache(maxsize=1024)
def truncated_masses(low: float, high: float, bits: int) -> tuple[float, float, float, int]:
    """Compute Φ(low), Φ(-high), the mass D between them, and how many n have Φ(low) + (n + ½) 2^-bits D <= ½."""
    from decimal import ROUND_FLOOR, Decimal

    with _sixty_digits():
        left, right = _lower_tail(Decimal(low)), _lower_tail(-Decimal(high))
        mass = _mass(Decimal(low), Decimal(high))
        half = Decimal("0.5")
        last = ((half - left) / mass * (1 << bits) - half).to_integral_value(ROUND_FLOOR)
        return float(left), float(right), float(mass), max(0, min(1 << bits, int(last) + 1))


@lru_cache(maxsize=1024)
def truncated_moments(low: float, high: float) -> tuple[float, float]:
    """Compute the mean and the standard deviation of the standard normal cut to [low, high].

    With many more digits than the masses need: for a narrow cut nearly all of them cancel.
    """
    from decimal import Decimal

    with _sixty_digits():
        a, b = Decimal(low), Decimal(high)
        if b - a < Decimal("1e-9"):  # uniform to within 1e-18 of itself
            return float((a + b) / 2), float((b - a) / Decimal(12).sqrt())
        mass = _mass(a, b)
        shift = (_density(a) - _density(b)) / mass
        edges = [cut * _density(cut) if cut.is_finite() else Decimal(0) for cut in (a, b)]
        variance = 1 + (edges[0] - edges[1]) / mass - shift * shift
        return float(shift), float(max(variance, Decimal(0)).sqrt())
