"""One row per activation, in NumPy and float64: the definitions that every engine's own are held against.

The compiled kernels have theirs in activations.h, Numba's are in numba_activations.py. Rows stand in the order of
winit_activation in dense_table.h; winit.activations has the gains and what users see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "BIT",
    "GELU_CUBE",
    "GELU_SLOPE",
    "INPUT",
    "NOTHING",
    "OUTPUT",
    "SELU_ALPHA",
    "SELU_SCALE",
    "TABLE",
    "Row",
    "density",
    "slope_number",
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


def density(z: Array) -> Array:
    """Give the standard normal density."""
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


# ---- the table

NOTHING, BIT, OUTPUT, INPUT = range(4)  # what backward needs of a unit: see winit_kept in dense_table.h


class Row(NamedTuple):
    """One activation. Rows stand in the order of winit_activation in dense_table.h."""

    value: Function
    derivative: Function
    kept: int
    from_output: Function | None  # where OUTPUT is kept, the derivative of an output and Activation.slope_number
    steepest: float  # the largest |f'|, of the parameter's default
    parameter: tuple[str, float] | None = None


TABLE = {
    "identity": Row(lambda z, p: z * 1.0, lambda z, p: np.ones_like(z), NOTHING, None, 1.0),
    "sigmoid": Row(_sigmoid, lambda z, p: _sigmoid(z) * _sigmoid(-z), OUTPUT, lambda y, p: y * (1.0 - y), 0.25),
    "tanh": Row(lambda z, p: np.tanh(z), lambda z, p: _sech2(z), OUTPUT, lambda y, p: (1.0 - y) * (1.0 + y), 1.0),
    "relu": Row(lambda z, p: _leaky(z, 0.0), lambda z, p: _leaky_slope(z, 0.0), BIT, None, 1.0),
    "leaky_relu": Row(_leaky, _leaky_slope, BIT, None, 1.0, ("slope", 0.01)),
    "elu": Row(
        _exponential_linear,
        _exponential_linear_slope,
        OUTPUT,
        lambda y, alpha: np.where(y > 0, 1.0, y + alpha),
        1.0,
        ("alpha", 1.0),
    ),
    "selu": Row(
        lambda z, p: SELU_SCALE * _exponential_linear(z, SELU_ALPHA),
        lambda z, p: SELU_SCALE * _exponential_linear_slope(z, SELU_ALPHA),
        OUTPUT,
        lambda y, floor: np.where(y > 0, SELU_SCALE, y + floor),
        SELU_SCALE * SELU_ALPHA,
    ),
    "softplus": Row(_softplus, lambda z, p: _sigmoid(z), OUTPUT, lambda y, p: -np.expm1(-y), 1.0),
    "gelu": Row(lambda z, p: z * _cdf(z), lambda z, p: _cdf(z) + z * density(z), INPUT, None, 1.1289),
    "gelu_tanh": Row(lambda z, p: z * _sigmoid(_gelu_argument(z)[0]), _gelu_tanh_slope, INPUT, None, 1.1290),
    "silu": Row(
        lambda z, p: z * _sigmoid(z),
        lambda z, p: _sigmoid(z) * (1.0 + z * _sigmoid(-z)),
        INPUT,
        None,
        1.0998,
    ),
    "mish": Row(
        lambda z, p: z * np.tanh(_softplus(z)),
        lambda z, p: np.tanh(_softplus(z)) + z * _sech2(_softplus(z)) * _sigmoid(z),
        INPUT,
        None,
        1.0885,
    ),
}


def slope_number(name: str, number: float, dtype: Any) -> float:
    """Return what from_output adds to y where the function levels off, rounded to y's type: alpha, or selu's 1.7581.

    So a saturated unit, y = -alpha, has the derivative 0.
    """
    return float(np.dtype(dtype).type(SELU_SCALE * SELU_ALPHA if name == "selu" else number))
