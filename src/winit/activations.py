"""One row per activation: value, derivative, the gain that keeps a signal's size, and what it does to variances.

The functions here are in NumPy and float64: the definitions. The kernels have their own (_kernels/activations.h), which
tests hold against these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from winit._core.laws import exp, normal_cdf, real
from winit._core.records import Record

__all__ = [
    "TABLE",
    "Activation",
    "activation",
    "elu",
    "gain",
    "gelu",
    "gelu_tanh",
    "identity",
    "leaky_relu",
    "mish",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "tanh",
]

Array = Any  # a NumPy array or scalar, float64
Function = Callable[[Any, float], Any]

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848  # Klambauer et al. 2017, equation 14
GELU_SLOPE, GELU_CUBE = 2 * math.sqrt(2 / math.pi), 0.044715


# ---- functions of the input z, and p, the parameter of the two that have one


def _sigmoid(z: Array, p: float = 0.0) -> Array:
    t = np.exp(-np.abs(z))
    return np.where(z < 0, t, 1.0) / (1.0 + t)


def _softplus(z: Array, p: float = 0.0) -> Array:
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))


def _sech2(z: Array) -> Array:
    t = np.exp(-2.0 * np.abs(z))
    return 4.0 * t / np.square(1.0 + t)


def _cdf(z: Array) -> Array:
    """Give the standard normal distribution function, both tails to full relative precision."""
    halves = np.frompyfunc(lambda x: math.erfc(-x / math.sqrt(2)) / 2, 1, 1)
    return np.asarray(halves(z), np.float64)


def _density(z: Array) -> Array:
    return np.exp(-0.5 * np.square(z)) / math.sqrt(2 * math.pi)


def _exponential_linear(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))


def _exponential_linear_slope(z: Array, alpha: float) -> Array:
    return np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0.0)))


def _leaky(z: Array, slope: float) -> Array:
    return np.where(z < 0, slope * z if slope else 0.0, z)


def _leaky_slope(z: Array, slope: float) -> Array:
    return np.where(z > 0, 1.0, slope)


def _gelu_argument(z: Array) -> tuple[Array, Array]:
    """Twice the argument of gelu_tanh's tanh, and its derivative."""
    held = np.clip(z, -64.0, 64.0)  # beyond, the sigmoid is 0 or 1; this keeps the cube in range
    return GELU_SLOPE * (held + GELU_CUBE * held**3), GELU_SLOPE * (1 + 3 * GELU_CUBE * held**2)


def _gelu_tanh_slope(z: Array, p: float) -> Array:
    u, slope = _gelu_argument(z)
    return _sigmoid(u) + np.clip(z, -64.0, 64.0) * _sigmoid(u) * _sigmoid(-u) * slope


# ---- gains: 1 / sqrt(E f(z)^2), z ~ N(0, 1), but for the four rows that torch has and others took over


def _leaky_gain(slope: float) -> float:
    return math.sqrt(2 / (1 + slope * slope))


def _elu_gain(alpha: float) -> float:
    # E f^2 = 1/2 + alpha^2 E[(e^z - 1)^2; z < 0], and E[e^(kz); z < 0] = e^(k^2 / 2) Phi(-k).
    negative = exp(2.0) * normal_cdf(-2.0) - 2 * exp(0.5) * normal_cdf(-1.0) + 0.5
    return 1 / math.sqrt(0.5 + alpha * alpha * negative)


def _gelu_gain(p: float) -> float:
    # E[z^2 Phi(z)^2] = 1/3 + 1 / (2 pi sqrt 3): twice Stein's lemma, with E Phi^2 = 1/3 and E[phi^2] = 1/(2 pi sqrt 3).
    return 1 / math.sqrt(1 / 3 + 1 / (2 * math.pi * math.sqrt(3)))


# The integral has no closed form; tests/test_schemes.py integrates it again.
_GELU_TANH, _SILU, _MISH, _SOFTPLUS = 1.533580521666147, 1.676532470331091, 1.486847581273208, 1.0418668355353018


def _is(number: float) -> Callable[[float], float]:
    return lambda p: number


# ---- the table

NOTHING, BIT, OUTPUT, INPUT = range(4)  # what backward needs of a unit: see winit_kept in _kernels/dense_table.h


class Row(NamedTuple):
    """One activation. Rows stand in the order of winit_activation in _kernels/dense_table.h."""

    value: Function
    derivative: Function
    kept: int
    from_output: Function | None  # where OUTPUT is kept, the derivative of an output and Activation.slope_number
    gain: Callable[[float], float]
    steepest: float  # the largest |f'|, of the parameter's default
    parameter: tuple[str, float] | None = None


TABLE = {
    "identity": Row(lambda z, p: z * 1.0, lambda z, p: np.ones_like(z), NOTHING, None, _is(1.0), 1.0),
    "sigmoid": Row(
        _sigmoid, lambda z, p: _sigmoid(z) * _sigmoid(-z), OUTPUT, lambda y, p: y * (1.0 - y), _is(1.0), 0.25
    ),
    "tanh": Row(
        lambda z, p: np.tanh(z), lambda z, p: _sech2(z), OUTPUT, lambda y, p: (1.0 - y) * (1.0 + y), _is(5 / 3), 1.0
    ),
    "relu": Row(lambda z, p: _leaky(z, 0.0), lambda z, p: _leaky_slope(z, 0.0), BIT, None, _is(math.sqrt(2)), 1.0),
    "leaky_relu": Row(_leaky, _leaky_slope, BIT, None, _leaky_gain, 1.0, ("slope", 0.01)),
    "elu": Row(
        _exponential_linear,
        _exponential_linear_slope,
        OUTPUT,
        lambda y, alpha: np.where(y > 0, 1.0, y + alpha),
        _elu_gain,
        1.0,
        ("alpha", 1.0),
    ),
    "selu": Row(
        lambda z, p: SELU_SCALE * _exponential_linear(z, SELU_ALPHA),
        lambda z, p: SELU_SCALE * _exponential_linear_slope(z, SELU_ALPHA),
        OUTPUT,
        lambda y, floor: np.where(y > 0, SELU_SCALE, y + floor),
        _is(3 / 4),
        SELU_SCALE * SELU_ALPHA,
    ),
    "softplus": Row(_softplus, lambda z, p: _sigmoid(z), OUTPUT, lambda y, p: -np.expm1(-y), _is(_SOFTPLUS), 1.0),
    "gelu": Row(lambda z, p: z * _cdf(z), lambda z, p: _cdf(z) + z * _density(z), INPUT, None, _gelu_gain, 1.1289),
    "gelu_tanh": Row(
        lambda z, p: z * _sigmoid(_gelu_argument(z)[0]), _gelu_tanh_slope, INPUT, None, _is(_GELU_TANH), 1.1290
    ),
    "silu": Row(
        lambda z, p: z * _sigmoid(z),
        lambda z, p: _sigmoid(z) * (1.0 + z * _sigmoid(-z)),
        INPUT,
        None,
        _is(_SILU),
        1.0998,
    ),
    "mish": Row(
        lambda z, p: z * np.tanh(_softplus(z)),
        lambda z, p: np.tanh(_softplus(z)) + z * _sech2(_softplus(z)) * _sigmoid(z),
        INPUT,
        None,
        _is(_MISH),
        1.0885,
    ),
}
_CODES = {name: code for code, name in enumerate(TABLE)}

# What gain knows besides: torch's names for what is linear.
_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and their masses under the standard normal: [-13, 0] and [0, 13], so that a kink at 0 does no harm."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    z = np.concatenate([6.5 * (nodes - 1), 6.5 * (nodes + 1)])
    return z, np.concatenate([weights, weights]) * 6.5 * _density(z)


class Activation(Record):
    """An activation function: frozen, comparable, picklable, with a repr that evaluates back.

    Parameters
    ----------
    name : str. One of identity, sigmoid, tanh, relu, leaky_relu, elu, selu, softplus, gelu (with the error function),
        gelu_tanh, silu, mish.
    param : float or None. The slope of leaky_relu (default 0.01), the alpha of elu (default 1, not negative).

    Raises
    ------
    TypeError : name is not a str, param not a number.
    ValueError : an unknown name (the message lists the known ones), a param where none is taken, not finite.

    >>> from winit.activations import Activation, leaky_relu
    >>> leaky_relu(0.2) == Activation("leaky_relu", 0.2)
    True
    >>> float(leaky_relu(0.2).value(-1.0)), float(leaky_relu(0.2).derivative(-1.0))
    (-0.2, 0.2)

    """

    __slots__ = ("name", "param")
    name: str
    param: float | None

    def __init__(self, name: str, param: float | None = None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"activation must be a str or a winit activation, not {type(name).__name__}")
        if name not in TABLE:
            raise ValueError(f"activation must be one of {', '.join(TABLE)}, not {name!r}")
        taken = TABLE[name].parameter
        if param is None:
            param = None if taken is None else taken[1]
        else:
            param = real(param, "param")
            if taken is None:
                raise ValueError(f"{name} takes no param; leaky_relu and elu do")
            if name == "elu" and param < 0:  # its output would no longer tell the sign of its input
                raise ValueError(f"alpha of elu must not be negative, not {param}")
        self._set(name, param)

    @property
    def number(self) -> float:
        """The parameter; 0 where there is none."""
        return 0.0 if self.param is None else self.param

    @property
    def code(self) -> int:
        """Its number in the kernels."""
        return _CODES[self.name]

    @property
    def row(self) -> Row:
        return TABLE[self.name]

    @property
    def steepest(self) -> float:
        """The largest |f'|."""
        return max(self.row.steepest, abs(self.number))

    @property
    def gain(self) -> float:
        """The factor of winit.gain."""
        return self.row.gain(self.number)

    def value(self, z: Any) -> np.ndarray:
        """Return f(z), in float64.

        >>> from winit.activations import tanh
        >>> tanh().value([0.0, 1.0]).round(4).tolist()
        [0.0, 0.7616]

        """
        return self._over(self.row.value, z)

    def derivative(self, z: Any) -> np.ndarray:
        """Return f'(z), in float64; at a kink the derivative from the left.

        >>> from winit.activations import relu
        >>> relu().derivative([-1.0, 0.0, 1.0]).tolist()
        [0.0, 0.0, 1.0]

        """
        return self._over(self.row.derivative, z)

    def slope_number(self, dtype: Any) -> float:
        """What from_output adds to y where the function levels off, rounded to y's type: alpha, or selu's 1.7581.

        So a saturated unit, y = -alpha, has the derivative 0.
        """
        return float(np.dtype(dtype).type(SELU_SCALE * SELU_ALPHA if self.name == "selu" else self.number))

    def _over(self, function: Function, z: Any) -> np.ndarray:
        with np.errstate(all="ignore"):  # both sides of a selection are computed, and one may be out of its range
            return np.asarray(function(np.asarray(z, np.float64), self.number), np.float64)

    def second_moment(self, variance: float) -> float:
        """Return E f(z)^2 for z ~ N(0, variance): the mean-field map of variance.

        With weights of variance s / fan_in and biases of variance b, pre-activations of variance q become ones of
        variance s E f^2 + b a layer on. Computed by Gauss-Legendre quadrature, to about 12 digits.

        Source: Poole et al. 2016 (arXiv 1606.05340), equation 3.

        >>> from winit.activations import relu
        >>> round(relu().second_moment(2.0), 12)
        1.0

        """
        return self._expected(lambda z: self.value(z) ** 2, variance)

    def mean(self, variance: float) -> float:
        """Return E f(z) for z ~ N(0, variance).

        >>> from winit.activations import sigmoid
        >>> round(sigmoid().mean(3.0), 12)
        0.5

        """
        return self._expected(self.value, variance)

    def squared_slope(self, variance: float) -> float:
        """Return E f'(z)^2 for z ~ N(0, variance): by which, times s, the mean square of gradients changes in a layer.

        Source: Schoenholz et al. 2017 (arXiv 1611.01232), equation 8, where s E f'^2 is chi_1.

        >>> from winit.activations import relu
        >>> round(relu().squared_slope(2.0), 12)
        0.5

        """
        return self._expected(lambda z: self.derivative(z) ** 2, variance)

    def _expected(self, function: Callable[[Any], Any], variance: float) -> float:
        variance = real(variance, "variance")
        if variance < 0:
            raise ValueError(f"variance must not be negative, not {variance}")
        z, mass = _quadrature()
        return float((mass * function(math.sqrt(variance) * z)).sum())


def activation(given: str | Activation) -> Activation:
    """Return an activation given as a name or as itself."""
    return given if isinstance(given, Activation) else Activation(given)


def identity() -> Activation:
    """Return f(z) = z."""
    return Activation("identity")


def sigmoid() -> Activation:
    """Return f(z) = 1 / (1 + e^-z)."""
    return Activation("sigmoid")


def tanh() -> Activation:
    """Return f(z) = tanh z."""
    return Activation("tanh")


def relu() -> Activation:
    """Return f(z) = max(z, 0)."""
    return Activation("relu")


def leaky_relu(slope: float = 0.01) -> Activation:
    """Return f(z) = z above 0, slope z below. Source: Maas et al. 2013."""
    return Activation("leaky_relu", slope)


def elu(alpha: float = 1.0) -> Activation:
    """Return f(z) = z above 0, alpha (e^z - 1) below. Source: Clevert et al. 2016 (arXiv 1511.07289)."""
    return Activation("elu", alpha)


def selu() -> Activation:
    """Return f(z) = 1.0507 elu(z, 1.6733). Source: Klambauer et al. 2017 (arXiv 1706.02515)."""
    return Activation("selu")


def softplus() -> Activation:
    """Return f(z) = ln(1 + e^z)."""
    return Activation("softplus")


def gelu() -> Activation:
    """Return f(z) = z Phi(z). Source: Hendrycks and Gimpel 2016 (arXiv 1606.08415)."""
    return Activation("gelu")


def gelu_tanh() -> Activation:
    """Return f(z) = z / 2 (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))), the approximation of gelu that GPT-2 uses."""
    return Activation("gelu_tanh")


def silu() -> Activation:
    """Return f(z) = z / (1 + e^-z), also called swish. Source: arXiv 1702.03118 and 1710.05941."""
    return Activation("silu")


def mish() -> Activation:
    """Return f(z) = z tanh(ln(1 + e^z)). Source: Misra 2019 (arXiv 1908.08681)."""
    return Activation("mish")


def gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights of variance 1/fan_in are scaled to make up for an activation.

    The rows that torch has are torch's: linear, identity, sigmoid and convolutions 1, tanh 5/3, relu sqrt 2,
    leaky_relu sqrt(2 / (1 + slope^2)), selu 3/4. The others are 1/sqrt(E f(z)^2) for z ~ N(0, 1), the definition of
    which relu and leaky_relu are cases: with it the second moment of the pre-activations stays what it was.

    ==========  ==============================================================================================
    gelu        1.53353  E f^2 = 1/3 + 1/(2 pi sqrt 3), f = z Phi(z)
    gelu_tanh   1.53358  by quadrature
    silu        1.67653  by quadrature, f = z / (1 + e^-z)
    elu         1.24520  E f^2 = 1/2 + alpha^2 (e^2 Phi(-2) - 2 e^(1/2) Phi(-1) + 1/2), alpha = 1
    mish        1.48685  by quadrature, f = z tanh(ln(1 + e^z))
    softplus    1.04187  by quadrature, f = ln(1 + e^z)
    ==========  ==============================================================================================

    Parameters
    ----------
    nonlinearity : str, a name from above.
    param : float or None. The slope of leaky_relu (default 0.01), the alpha of elu (default 1).

    Raises
    ------
    TypeError : nonlinearity is not a str, param not a number.
    ValueError : an unknown name (the message lists the known ones), a param where none is taken, not finite.

    Source: He et al. 2015 (arXiv 1502.01852) section 2.2; torch.nn.init.calculate_gain.

    >>> gain("relu")
    1.4142135623730951
    >>> round(gain("gelu"), 5)
    1.53353

    """
    if not isinstance(nonlinearity, str):
        raise TypeError(f"nonlinearity must be a str, not {type(nonlinearity).__name__}")
    if nonlinearity in _LINEAR:
        nonlinearity = "identity"
    if nonlinearity not in TABLE:
        raise ValueError(f"nonlinearity must be one of {', '.join([*_LINEAR, *TABLE])}, not {nonlinearity!r}")
    row = TABLE[nonlinearity]
    if param is not None:
        param = real(param, "param")
        if row.parameter is None:
            raise ValueError(f"{nonlinearity} takes no param; leaky_relu and elu do")
    elif row.parameter is not None:
        param = row.parameter[1]
    return row.gain(param or 0.0)
