"""Independent random elements scaled by a layer's fans: variance scaling, and its cases of Xavier, He and LeCun."""

from __future__ import annotations

import math
from collections.abc import Callable

from winit._core.checks import check_not_negative, check_number, check_one_of
from winit._core.laws import Constant, Law, Normal, Parted, TruncatedNormal, Uniform
from winit._core.layouts import Layout, fans, out_parts
from winit._core.scheme import Scheme
from winit.activations import gain as gain_of

__all__ = [
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
]

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("normal", "uniform", "truncated_normal")


# The standard deviation of a standard normal cut at ±2.
_CUT_STD = TruncatedNormal(0.0, 1.0, -2.0, 2.0)


def fan_law(shape: tuple[int, ...], layout: Layout, mode: str, make: Callable[[float], Law]) -> Law:
    """Make the law of a fan: one for each part where splits of several sizes have fans of their own."""
    fan_in, fan_out = fans(shape, layout)
    if isinstance(fan_out, int):
        return make(_fan(fan_in, fan_out, mode))
    parts = out_parts(shape, layout)
    assert parts is not None
    laws = tuple(make(_fan(fan_in, part, mode)) for part in fan_out)
    return laws[0] if len(set(laws)) == 1 else Parted(*parts, laws)


def _fan(fan_in: int, fan_out: int, mode: str) -> float:
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
        scale, keep = check_not_negative(scale, "scale"), check_number(keep, "keep")
        check_one_of(mode, MODES, "mode")
        check_one_of(distribution, DISTRIBUTIONS, "distribution")
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, not {keep!r}")
        self._set(scale, mode, distribution, keep)

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return fan_law(
            shape, layout, self.mode, lambda fan: centred(1.0, self.scale * self.keep, fan, self.distribution)
        )


class _xavier(Scheme):
    __slots__ = ("gain",)
    gain: float

    def __init__(self, gain: float = 1.0) -> None:
        self._set(check_not_negative(gain, "gain"))

    def _law(self, shape: tuple[int, ...], layout: Layout, distribution: str) -> Law:
        return fan_law(shape, layout, "fan_avg", lambda fan: centred(self.gain, 1.0, fan, distribution))


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
        slope = check_number(a, "a")
        check_one_of(mode, MODES, "mode")
        gain_of(nonlinearity)
        if slope != 0 and nonlinearity != "leaky_relu":
            raise ValueError(f"a is the slope of leaky_relu; {nonlinearity} has none, so a must be 0")
        self._set(slope, mode, nonlinearity)

    def _law(self, shape: tuple[int, ...], layout: Layout, distribution: str) -> Law:
        gain = gain_of("leaky_relu", self.a) if self.nonlinearity == "leaky_relu" else gain_of(self.nonlinearity)
        return fan_law(shape, layout, self.mode, lambda fan: centred(gain, 1.0, fan, distribution))


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
        return fan_law(shape, layout, "fan_in", lambda fan: centred(1.0, 1.0, fan, "uniform"))


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
        return fan_law(shape, layout, "fan_in", lambda fan: centred(1.0, 1.0, fan, "normal"))


glorot_uniform = xavier_uniform
glorot_normal = xavier_normal
kaiming_uniform = he_uniform
kaiming_normal = he_normal
