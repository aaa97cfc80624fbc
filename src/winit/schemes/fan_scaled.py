"""Independent random elements: the plain laws, and variance scaling with its named special cases."""

from __future__ import annotations

import math
from typing import Any, SupportsIndex

from winit._core.laws import Constant, Law, Normal, Padded, TruncatedNormal, Uniform, not_negative, real
from winit._core.shapes import Layout, fans
from winit.activations import gain as gain_of
from winit.schemes.base import Scheme

__all__ = [
    "embedding",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
]

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("normal", "uniform", "truncated_normal")


def _one_of(value: Any, known: tuple[str, ...], what: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if value not in known:
        raise ValueError(f"{what} must be one of {', '.join(map(repr, known))}, not {value!r}")


def _interval(low: Any, high: Any) -> tuple[float, float]:
    low, high = real(low, "low"), real(high, "high")
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
        self._set(real(mean, "mean"), not_negative(std, "std"))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return Normal(self.mean, self.std)


class truncated_normal(Scheme):
    """Draw from N(mean, std^2) cut to [mean + std low, mean + std high], by the inverse distribution function.

    The result's standard deviation is smaller than std (0.88 std at the default cuts); `moments` gives it.

    Parameters
    ----------
    mean : float.
    std : float, >= 0.
    low, high : float, low < high. In units of std, before scaling: torch's a is mean + std low, not low.

    Raises
    ------
    TypeError : not numbers. ValueError : not finite, negative std, low >= high; when drawn, both cuts more than 12
        (float64: 36) standard deviations out on one side, or values beyond the dtype's range.

    Source: inversion, Devroye 1986, chapter II.2.

    >>> truncated_normal().moments().std
    0.8796256610342398

    """

    __slots__ = ("high", "low", "mean", "std")
    mean: float
    std: float
    low: float
    high: float

    def __init__(self, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0) -> None:
        self._set(real(mean, "mean"), not_negative(std, "std"), *_interval(low, high))

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
            if isinstance(padding, bool) or not isinstance(padding, SupportsIndex):
                raise TypeError(f"padding must be an integer or None, not {type(padding).__name__}")
            padding = padding.__index__()
        self._set(not_negative(std, "std"), padding)

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        inner = Normal(0.0, self.std)
        if self.padding is None:
            return inner
        rows = shape[0] if shape else 0
        if not -rows <= self.padding < rows:
            raise ValueError(f"padding token {self.padding} is outside a table of {rows} rows (shape {shape})")
        size = math.prod(shape)
        return Padded(inner, self.padding % rows, size // rows, size)


# The standard deviation of a standard normal cut at ±2.
_CUT_STD = TruncatedNormal(0.0, 1.0, -2.0, 2.0)


def _fan(shape: tuple[int, ...], layout: Layout, mode: str) -> float:
    fan_in, fan_out = fans(shape, layout)
    fan_in, fan_out = max(fan_in, 1), max(fan_out, 1)  # an empty tensor has no element that could notice
    if mode == "fan_in":
        return float(fan_in)
    if mode == "fan_out":
        return float(fan_out)
    if mode == "fan_avg":
        return (fan_in + fan_out) / 2
    return math.sqrt(fan_in * fan_out)


def centred(gain: float, scale: float, fan: float, distribution: str) -> Law:
    """The law of mean 0 and standard deviation gain sqrt(scale / fan)."""
    std = gain * math.sqrt(scale / fan)
    if distribution == "normal":
        return Normal(0.0, std)
    if distribution == "uniform":
        bound = gain * math.sqrt(3 * scale / fan)
        return Uniform(-bound, bound) if bound > 0 else Constant(0.0)
    return TruncatedNormal(0.0, std / _CUT_STD.moments().std, -2.0, 2.0)


class variance_scaling(Scheme):
    """Draw with variance scale / fan: the family of which Xavier's, He's and LeCun's schemes are members.

    std = sqrt(scale / fan); uniform on [-sqrt(3) std, sqrt(3) std), normal, or normal cut at two standard deviations
    and widened by 1/0.8796 so that its standard deviation is std all the same (JAX's and Keras's convention).

    Parameters
    ----------
    scale : float, >= 0.
    mode : "fan_in", "fan_out", "fan_avg" (their mean) or "fan_geo_avg" (their geometric mean).
    distribution : "normal", "uniform" or "truncated_normal".
    keep : float in (0, 1]. The share of the layer's inputs that dropout keeps. Those kept are divided by it, which
        multiplies the mean square of the inputs by 1 / keep; the variance drawn is scale * keep / fan, so that the
        layer's outputs have the variance that they would have without.

    Raises
    ------
    TypeError, ValueError : as above; when drawn, a shape without fans.

    Source: Glorot & Bengio 2010; He et al. 2015 (arXiv 1502.01852); jax.nn.initializers.variance_scaling. keep:
        after Hendrycks & Gimpel 2016 (arXiv 1607.02488), the condition of the forward pass alone.

    >>> variance_scaling(2.0).moments((10, 50)).std
    0.2

    """

    __slots__ = ("distribution", "keep", "mode", "scale")
    scale: float
    mode: str
    distribution: str
    keep: float

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "normal", *, keep: float = 1.0
    ) -> None:
        scale, keep = not_negative(scale, "scale"), real(keep, "keep")
        _one_of(mode, MODES, "mode")
        _one_of(distribution, DISTRIBUTIONS, "distribution")
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, not {keep!r}")
        self._set(scale, mode, distribution, keep)

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return centred(1.0, self.scale * self.keep, _fan(shape, layout, self.mode), self.distribution)


class _xavier(Scheme):
    __slots__ = ("gain",)
    gain: float

    def __init__(self, gain: float = 1.0) -> None:
        self._set(not_negative(gain, "gain"))

    def _law(self, shape: tuple[int, ...], layout: Layout, distribution: str) -> Law:
        return centred(self.gain, 1.0, _fan(shape, layout, "fan_avg"), distribution)


class xavier_uniform(_xavier):
    """Draw from U[-b, b), b = gain sqrt(6 / (fan_in + fan_out)): variance_scaling(gain^2, "fan_avg", "uniform").

    Parameters
    ----------
    gain : float, >= 0.

    Raises
    ------
    TypeError, ValueError : as above; when drawn, a shape without fans.

    Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 16.

    >>> xavier_uniform().moments((100, 200)).high
    0.1414213562373095

    """

    __slots__ = ()

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return self._law(shape, layout, "uniform")


class xavier_normal(_xavier):
    """Draw from N(0, std^2), std = gain sqrt(2 / (fan_in + fan_out)): variance_scaling(gain^2, "fan_avg", "normal").

    Not cut, as in torch; JAX's and Keras's glorot_normal is variance_scaling(1, "fan_avg", "truncated_normal").

    Parameters
    ----------
    gain : float, >= 0.

    Raises
    ------
    TypeError, ValueError : as above; when drawn, a shape without fans.

    Source: Glorot & Bengio 2010.

    >>> xavier_normal(gain=2).moments((100, 100)).std
    0.2

    """

    __slots__ = ()

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return self._law(shape, layout, "normal")


class _he(Scheme):
    __slots__ = ("a", "mode", "nonlinearity")
    a: float
    mode: str
    nonlinearity: str

    def __init__(self, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> None:
        slope = real(a, "a")
        _one_of(mode, MODES, "mode")
        gain_of(nonlinearity)
        if slope != 0 and nonlinearity != "leaky_relu":
            raise ValueError(f"a is the slope of leaky_relu; {nonlinearity} has none, so a must be 0")
        self._set(slope, mode, nonlinearity)

    def _law(self, shape: tuple[int, ...], layout: Layout, distribution: str) -> Law:
        gain = gain_of("leaky_relu", self.a) if self.nonlinearity == "leaky_relu" else gain_of(self.nonlinearity)
        return centred(gain, 1.0, _fan(shape, layout, self.mode), distribution)


class he_uniform(_he):
    """Draw from U[-b, b), b = gain sqrt(3 / fan).

    Parameters
    ----------
    a : float. The slope of leaky_relu below zero: gain = sqrt(2 / (1 + a^2)); 0 is relu.
    mode : "fan_in" keeps the variance of the forward pass, "fan_out" that of the backward pass.
    nonlinearity : str. A row of winit.gain.

    Raises
    ------
    TypeError, ValueError : as above; when drawn, a shape without fans.

    Source: He et al. 2015, "Delving deep into rectifiers" (arXiv 1502.01852); torch.nn.init.kaiming_uniform_.

    >>> he_uniform().moments((10, 600)).high
    0.1

    """

    __slots__ = ()

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return self._law(shape, layout, "uniform")


class he_normal(_he):
    """Draw from N(0, std^2), std = gain / sqrt(fan).

    Not cut, as in torch; JAX's and Keras's he_normal is variance_scaling(2, "fan_in", "truncated_normal").

    Parameters
    ----------
    a : float. The slope of leaky_relu below zero: gain = sqrt(2 / (1 + a^2)); 0 is relu.
    mode : "fan_in" keeps the variance of the forward pass, "fan_out" that of the backward pass.
    nonlinearity : str. A row of winit.gain.

    Raises
    ------
    TypeError, ValueError : as above; when drawn, a shape without fans.

    Source: He et al. 2015 (arXiv 1502.01852); torch.nn.init.kaiming_normal_.

    >>> he_normal().moments((10, 200)).std
    0.1

    """

    __slots__ = ()

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return self._law(shape, layout, "normal")


class lecun_uniform(Scheme):
    """Draw from U[-b, b), b = sqrt(3 / fan_in): variance_scaling(1, "fan_in", "uniform").

    Raises
    ------
    ValueError : when drawn, a shape without fans.

    Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", section 4.6.

    >>> lecun_uniform().moments((10, 300)).high
    0.1

    """

    __slots__ = ()

    def __init__(self) -> None:
        self._set()

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return centred(1.0, 1.0, _fan(shape, layout, "fan_in"), "uniform")


class lecun_normal(Scheme):
    """Draw from N(0, 1/fan_in): variance_scaling(1, "fan_in", "normal").

    Not cut; JAX's and Keras's lecun_normal is variance_scaling(1, "fan_in", "truncated_normal").

    Raises
    ------
    ValueError : when drawn, a shape without fans.

    Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", section 4.6.

    >>> lecun_normal().moments((10, 400)).std
    0.05

    """

    __slots__ = ()

    def __init__(self) -> None:
        self._set()

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return centred(1.0, 1.0, _fan(shape, layout, "fan_in"), "normal")


glorot_uniform = xavier_uniform
glorot_normal = xavier_normal
kaiming_uniform = he_uniform
kaiming_normal = he_normal
