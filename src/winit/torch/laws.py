"""Laws that torch code makes of laws: scaled, shifted, cut, pushed through erfinv; as winit schemes."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

from winit._core.laws import INDEPENDENT, Constant, Law, Normal, TruncatedNormal, Uniform
from winit._core.scheme import Scheme
from winit.schemes import (
    constant,
    dirac,
    embedding,
    identity,
    normal,
    ones,
    orthogonal,
    truncated_normal,
    uniform,
    with_layout,
    zeros,
)

__all__ = ["affine", "changed", "clamped", "erfinv_of", "scheme_of", "scheme_of_value", "with_zero_row"]


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


def scheme_of_value(value: float | bool) -> Scheme:
    """Return the scheme of one value everywhere."""
    if value == 0 and math.copysign(1, value) > 0:
        return zeros()
    return ones() if value == 1 else constant(value)


def affine(law: Law, factor: float, shift: float) -> Scheme | None:
    """Return the scheme of factor X + shift, X of the law; None where it has none."""
    if not (math.isfinite(factor) and math.isfinite(shift)):
        return None
    if isinstance(law, Constant) or factor <= 0:
        # A constant is rounded by each operation; a factor below 0 turns the values' signs, and one of 0 keeps them.
        return None
    if isinstance(law, Normal):
        return normal(law.mean * factor + shift, law.std * factor)
    if isinstance(law, Uniform):
        low, high = law.low * factor + shift, law.high * factor + shift
        return uniform(low, high) if low < high else None
    if isinstance(law, TruncatedNormal):
        return truncated_normal(law.mean * factor + shift, law.std * factor, law.low, law.high)
    return None


def scaled(scheme: Scheme, factor: float) -> Scheme | None:
    """Return the scheme of a factor times another's values, where that has a size: a gain, or an embedding's std."""
    if isinstance(scheme, with_layout):
        inner = scaled(scheme.scheme, factor)
        return None if inner is None else with_layout(inner, scheme.layout)
    if not (math.isfinite(factor) and factor > 0):
        return None
    if isinstance(scheme, embedding):
        return embedding(std=scheme.std * factor, padding=scheme.padding)
    if not isinstance(scheme, (orthogonal, dirac, identity)):
        return None
    fields = {field: getattr(scheme, field) for field in scheme._fields}
    return type(scheme)(**{**fields, "gain": scheme.gain * factor})


def changed(
    name: str, scheme: Scheme, size: tuple[int, ...], args: Any, kwargs: Any, number: Callable[[Any], float | None]
) -> Scheme | None:
    """Return the scheme of what an operation of torch's makes of values; None where it has none.

    args : the operation's, the first of which is the values. number : reads one that is a number.
    """
    law = scheme.law(size)
    if name in ("mul", "div") and len(args) == 2 and not kwargs:
        factor = number(args[1])
        if factor is None or (name == "div" and factor == 0):
            return None
        factor = factor if name == "mul" else 1 / factor
        return affine(law, factor, 0.0) or scaled(scheme, factor)
    if name in ("add", "sub") and len(args) == 2:
        shift, alpha = number(args[1]), number(kwargs.get("alpha", 1))
        if shift is None or alpha is None:
            return None
        return affine(law, 1.0, shift * alpha * (1 if name == "add" else -1))
    if name == "erfinv":
        return erfinv_of(law)
    if name == "clamp":
        given = [*args[1:], *(kwargs.get(end) for end in ("min", "max")[len(args) - 1 :])]
        low, high = (None if end is None else number(end) for end in given)
        bounds = (-math.inf if low is None else low, math.inf if high is None else high)
        return scheme if isinstance(law, INDEPENDENT) and clamped(law, *bounds) else None
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
