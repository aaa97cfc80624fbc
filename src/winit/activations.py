"""One row per activation: value, derivative, the gain that keeps a signal's size, and what it does to variances.

The functions are in NumPy and float64 (_kernels/activation_rows.py); the kernels have their own, which tests hold
against these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from winit._core.checks import check_number, nearest, shown
from winit._core.exact import exponential, normal_cdf
from winit._core.records import Record
from winit._kernels.activation_rows import TABLE, Row, density

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

# ---- gains: 1 / sqrt(E f(z)^2), z ~ N(0, 1), but for the four rows that torch has and others took over


def _leaky_gain(slope: float) -> float:
    return math.sqrt(2 / (1 + slope * slope))


def _elu_gain(alpha: float) -> float:
    # E f^2 = 1/2 + alpha^2 E[(e^z - 1)^2; z < 0], and E[e^(kz); z < 0] = e^(k^2 / 2) Phi(-k).
    negative = exponential(2.0) * normal_cdf(-2.0) - 2 * exponential(0.5) * normal_cdf(-1.0) + 0.5
    return 1 / math.sqrt(0.5 + alpha * alpha * negative)


def _gelu_gain(p: float) -> float:
    # E[z^2 Phi(z)^2] = 1/3 + 1 / (2 pi sqrt 3): twice Stein's lemma, with E Phi^2 = 1/3 and E[phi^2] = 1/(2 pi sqrt 3).
    return 1 / math.sqrt(1 / 3 + 1 / (2 * math.pi * math.sqrt(3)))


# The integral has no closed form; tests/test_schemes.py integrates it again.
_GELU_TANH, _SILU, _MISH, _SOFTPLUS = 1.533580521666147, 1.676532470331091, 1.486847581273208, 1.0418668355353018


def _is(number: float) -> Callable[[float], float]:
    return lambda p: number


_GAINS: dict[str, Callable[[float], float]] = {
    "identity": _is(1.0),
    "sigmoid": _is(1.0),
    "tanh": _is(5 / 3),
    "relu": _is(math.sqrt(2)),
    "leaky_relu": _leaky_gain,
    "elu": _elu_gain,
    "selu": _is(3 / 4),
    "softplus": _is(_SOFTPLUS),
    "gelu": _gelu_gain,
    "gelu_tanh": _is(_GELU_TANH),
    "silu": _is(_SILU),
    "mish": _is(_MISH),
}
_ALIASES = {"linear": "identity", "swish": "silu"}
_CODES = {name: code for code, name in enumerate(TABLE)}

# What gain knows besides: torch's names for what is linear.
_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and their masses under the standard normal: [-13, 0] and [0, 13], so that a kink at 0 does no harm."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    z = np.concatenate([6.5 * (nodes - 1), 6.5 * (nodes + 1)])
    return z, np.concatenate([weights, weights]) * 6.5 * density(z)


def _numbers(z: Any) -> np.ndarray:
    """A caller's numbers in float64."""
    try:
        array = np.asarray(z)
        if array.dtype.kind in "biufVO" and not isinstance(z, (bytes, memoryview)) and array.dtype.fields is None:
            return array.astype(np.float64)
    except OverflowError:
        raise ValueError("z must be within the range of float64") from None
    except Exception:  # what a caller's own __array__ and __float__ raise
        raise TypeError(f"z must be a number or an array of numbers, not {shown(z)}") from None
    raise TypeError(f"z must be a number or an array of numbers, not {shown(z)}")


class Activation(Record):
    """An activation function: frozen, comparable, picklable, with a repr that evaluates back.

    Parameters
    ----------
    name : str or None. One of identity (also "linear", and None), sigmoid, tanh, relu, leaky_relu, elu, selu, softplus,
        gelu (with the error function), gelu_tanh, silu (also "swish"), mish.
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

    def __init__(self, name: str | None, param: float | None = None) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"activation must be a str or a winit activation, not {type(name).__name__}")
        name = "identity" if name is None else _ALIASES.get(name, name)
        if name not in TABLE:
            raise ValueError(f"activation must be one of {', '.join(TABLE)}, not {shown(name)}{nearest(name, TABLE)}")
        taken = TABLE[name].parameter
        if param is None:
            param = None if taken is None else taken[1]
        else:
            param = check_number(param, "param")
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
        return _GAINS[self.name](self.number)

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

    def _over(self, function: Callable[[Any, float], Any], z: Any) -> np.ndarray:
        with np.errstate(all="ignore"):  # both sides of a selection are computed, and one may be out of its range
            return np.asarray(function(_numbers(z), self.number), np.float64)

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
        variance = check_number(variance, "variance")
        if variance < 0:
            raise ValueError(f"variance must not be negative, not {variance}")
        z, mass = _quadrature()
        return float((mass * function(math.sqrt(variance) * z)).sum())


def activation(given: str | Activation | None) -> Activation:
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
    nonlinearity = "identity" if nonlinearity in _LINEAR else _ALIASES.get(nonlinearity, nonlinearity)
    if nonlinearity not in TABLE:
        hint = nearest(nonlinearity, (*_LINEAR, *TABLE))
        raise ValueError(
            f"nonlinearity must be one of {', '.join([*_LINEAR, *TABLE])}, not {shown(nonlinearity)}{hint}"
        )
    row = TABLE[nonlinearity]
    if param is not None:
        param = check_number(param, "param")
        if row.parameter is None:
            raise ValueError(f"{nonlinearity} takes no param; leaky_relu and elu do")
    elif row.parameter is not None:
        param = row.parameter[1]
    return _GAINS[nonlinearity](param or 0.0)


def __dir__() -> list[str]:
    return __all__
