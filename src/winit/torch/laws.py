"""Laws that torch code makes of laws: scaled, shifted, cut, pushed through erfinv; as winit schemes."""

from __future__ import annotations

import math
from statistics import NormalDist

from winit._core.laws import Constant, Law, Normal, TruncatedNormal, Uniform
from winit._core.scheme import Scheme
from winit.schemes import constant, embedding, normal, ones, truncated_normal, uniform, zeros

__all__ = ["affine", "clamped", "erfinv_of", "independent", "scheme_of", "scheme_of_value", "with_zero_row"]


def scheme_of(law: Law) -> Scheme | None:
    """Return the scheme of a law of independent elements that no shape changes; None for another law."""
    if isinstance(law, Normal):
        return normal(law.mean, law.std)
    if isinstance(law, Uniform):
        return uniform(law.low, law.high)
    if isinstance(law, TruncatedNormal):
        return truncated_normal(law.mean, law.std, law.low, law.high)
    if isinstance(law, Constant):
        return scheme_of_value(law.value)
    return None


def independent(law: Law) -> bool:
    """Whether a law's elements are independent draws of one distribution."""
    return isinstance(law, (Normal, Uniform, TruncatedNormal, Constant))


def scheme_of_value(value: float | bool) -> Scheme:
    """Return the scheme of one value everywhere."""
    if value == 0 and math.copysign(1, value) > 0:
        return zeros()
    return ones() if value == 1 else constant(value)


def affine(law: Law, factor: float, shift: float) -> Scheme | None:
    """Return the scheme of factor X + shift, X of the law; None where it has none."""
    if not (math.isfinite(factor) and math.isfinite(shift)):
        return None
    if isinstance(law, Constant):
        return scheme_of(Constant(law.value * factor + shift))
    if factor == 0:
        return scheme_of(Constant(shift))
    if factor < 0:  # a stream's values would have to change their signs
        return None
    if isinstance(law, Normal):
        return normal(law.mean * factor + shift, law.std * factor)
    if isinstance(law, Uniform):
        low, high = law.low * factor + shift, law.high * factor + shift
        return uniform(low, high) if low < high else None
    if isinstance(law, TruncatedNormal):
        return truncated_normal(law.mean * factor + shift, law.std * factor, law.low, law.high)
    return None


def erfinv_of(law: Law) -> Scheme | None:
    """Return the scheme of erfinv(X), X uniform: the normal law of variance 1/2, cut. So does timm's trunc_normal_."""
    if not isinstance(law, Uniform) or not -1 <= law.low < law.high <= 1:
        return None
    ends = [
        math.copysign(math.inf, end) if abs(end) == 1 else NormalDist().inv_cdf((1 + end) / 2)
        for end in (law.low, law.high)
    ]
    if ends == [-math.inf, math.inf]:
        return normal(0.0, math.sqrt(0.5))
    return truncated_normal(0.0, math.sqrt(0.5), ends[0], ends[1])


def clamped(law: Law, low: float, high: float) -> bool:
    """Whether clamping changes nothing of a law, but for rounding: its ends lie within, by a millionth of its width."""
    moments = law.moments()
    slack = 1e-6 * max(moments.std, abs(moments.mean))
    return low - slack <= moments.low and moments.high <= high + slack


def with_zero_row(law: Law, row: int) -> Scheme | None:
    """Return the scheme of a table of normal values whose row `row` is 0."""
    if isinstance(law, Normal) and law.mean == 0:
        return embedding(std=law.std, padding=row)
    return None
