"""One row per activation: the gain that keeps a signal's size through it."""

from __future__ import annotations

import math
from collections.abc import Callable

from winit.laws import exp, normal_cdf, real

__all__ = ["gain"]


def _linear(param: float | None) -> float:
    return 1.0


def _leaky_relu(param: float | None) -> float:
    slope = 0.01 if param is None else param
    return math.sqrt(2 / (1 + slope * slope))


def _elu(param: float | None) -> float:
    alpha = 1.0 if param is None else param
    # E f^2 = 1/2 + alpha^2 E[(e^z - 1)^2; z < 0], and E[e^(kz); z < 0] = e^(k^2 / 2) Phi(-k).
    negative = exp(2.0) * normal_cdf(-2.0) - 2 * exp(0.5) * normal_cdf(-1.0) + 0.5
    return 1 / math.sqrt(0.5 + alpha * alpha * negative)


def _gelu(param: float | None) -> float:
    # E[z^2 Phi(z)^2] = 1/3 + 1 / (2 pi sqrt 3): twice Stein's lemma, with E Phi^2 = 1/3 and E[phi^2] = 1/(2 pi sqrt 3).
    return 1 / math.sqrt(1 / 3 + 1 / (2 * math.pi * math.sqrt(3)))


# 1 / sqrt(E f(z)^2), z ~ N(0, 1), where the integral has no closed form; tests/test_schemes.py integrates it again.
_GELU_TANH, _SILU, _MISH, _SOFTPLUS = 1.533580521666147, 1.676532470331091, 1.486847581273208, 1.0418668355353018


def _table(value: float) -> Callable[[float | None], float]:
    return lambda param: value


_GAINS: dict[str, Callable[[float | None], float]] = {
    **dict.fromkeys(("linear", "identity", "sigmoid", "conv1d", "conv2d", "conv3d"), _linear),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _linear),
    "tanh": _table(5 / 3),
    "relu": _table(math.sqrt(2)),
    "leaky_relu": _leaky_relu,
    "selu": _table(3 / 4),
    "gelu": _gelu,
    "gelu_tanh": _table(_GELU_TANH),
    "silu": _table(_SILU),
    "elu": _elu,
    "mish": _table(_MISH),
    "softplus": _table(_SOFTPLUS),
}

_TAKES_PARAM = ("leaky_relu", "elu")


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
    if nonlinearity not in _GAINS:
        raise ValueError(f"nonlinearity must be one of {', '.join(_GAINS)}, not {nonlinearity!r}")
    if param is not None:
        param = real(param, "param")
        if nonlinearity not in _TAKES_PARAM:
            raise ValueError(f"{nonlinearity} takes no param; {' and '.join(_TAKES_PARAM)} do")
    return _GAINS[nonlinearity](param)
