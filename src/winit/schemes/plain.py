"""Independent random elements whose law looks at neither fans nor depth: uniform, normal, truncated, embeddings."""

from __future__ import annotations

import math
from typing import Any

from winit._core.checks import check_cuts, check_integer, check_not_negative, check_number
from winit._core.laws import Law, Normal, Padded, TruncatedNormal, Uniform
from winit._core.layouts import Layout
from winit._core.scheme import Scheme

__all__ = ["embedding", "normal", "truncated_normal", "uniform"]


def _interval(low: Any, high: Any) -> tuple[float, float]:
    low, high = check_number(low, "low"), check_number(high, "high")
    if not low < high:
        raise ValueError(f"low must be less than high, not {low!r} and {high!r}")
    return low, high


class uniform(Scheme):
    """Draw from U[low, high).

    value = low + (high - low) u, u a multiple of 2^-24 in [0, 1) (2^-53 in float64); never high.

    Parameters
    ----------
    low, high : float, low < high.

    Raises
    ------
    TypeError : not numbers. ValueError : not finite, low >= high; when drawn, beyond the dtype's range.

    >>> uniform(-0.1, 0.1).moments()
    Moments(mean=0.0, std=0.05773502691896258, low=-0.1, high=0.1)

    """

    __slots__ = ("high", "low")
    low: float
    high: float

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        self._set(*_interval(low, high))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return Uniform(self.low, self.high)


class normal(Scheme):
    """Draw from N(mean, std^2).

    Parameters
    ----------
    mean : float.
    std : float, >= 0.

    Raises
    ------
    TypeError : not numbers. ValueError : not finite, negative std; when drawn, |mean| + 6.77 std beyond the dtype's
        range.

    Source: Box & Muller 1958 (the transform).

    >>> normal(std=0.02)
    normal(std=0.02)

    """

    __slots__ = ("mean", "std")
    mean: float
    std: float

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self._set(check_number(mean, "mean"), check_not_negative(std, "std"))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return Normal(self.mean, self.std)


class truncated_normal(Scheme):
    """Draw from N(mean, std^2) cut to [mean + std low, mean + std high], by the inverse distribution function.

    The result's standard deviation is smaller than std (0.88 std at the default cuts); `moments` gives it.

    Parameters
    ----------
    mean : float.
    std : float, >= 0.
    low, high : float, low < high. In units of std, before scaling: torch's a is mean + std low, not low. -math.inf and
        math.inf leave that side uncut; they print as -inf and inf, which plans in TOML read.

    Raises
    ------
    TypeError : not numbers. ValueError : mean or std not finite, negative std, low >= high; when drawn, both cuts more
        than 12 (float64: 36) standard deviations out on one side, or values beyond the dtype's range.

    Source: inversion, Devroye 1986, chapter II.2.

    >>> truncated_normal().moments().std
    0.8796256610342398
    >>> half_normal = truncated_normal(low=0.0, high=math.inf)
    >>> half_normal.moments()
    Moments(mean=0.7978845608028654, std=0.602810274989087, low=0.0, high=inf)

    """

    __slots__ = ("high", "low", "mean", "std")
    mean: float
    std: float
    low: float
    high: float

    def __init__(self, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0) -> None:
        self._set(check_number(mean, "mean"), check_not_negative(std, "std"), *check_cuts(low, high))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return TruncatedNormal(self.mean, self.std, self.low, self.high)


class embedding(Scheme):
    """Draw a table of embeddings from N(0, std^2), the padding token's row 0.

    The other rows are those of normal(std=std).

    Parameters
    ----------
    std : float, >= 0.
    padding : int or None. The token whose row, along the first axis, is 0; negative ones count from the end.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a padding token that the table does not have.

    Source: torch.nn.Embedding (padding_idx; its std is 1); transformers' models zero that row too.

    >>> import winit
    >>> winit.draw(winit.embedding(padding=0), (2, 3), seed=0)[0].tolist()
    [0.0, 0.0, 0.0]

    """

    __slots__ = ("padding", "std")
    std: float
    padding: int | None

    def __init__(self, std: float = 1.0, padding: int | None = None) -> None:
        if padding is not None:
            if isinstance(padding, bool) or not hasattr(padding, "__index__"):
                raise TypeError(f"padding must be an integer or None, not {type(padding).__name__}")
            padding = check_integer(padding, "padding", None)
        self._set(check_not_negative(std, "std"), padding)

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        inner = Normal(0.0, self.std)
        if self.padding is None:
            return inner
        rows = shape[0] if shape else 0
        if not -rows <= self.padding < rows:
            raise ValueError(f"padding token {self.padding} is outside a table of {rows} rows (shape {shape})")
        size = math.prod(shape)
        return Padded(inner, self.padding % rows, size // rows, size)
