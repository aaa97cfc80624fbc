"""How far a network of so many units strays from what mean-field theory expects of a very wide one.

Given what a layer reads, its pre-activations are independent draws of N(0, q), so a mean over n units of a function g
of them has the relative variance (E g^2 / (E g)^2 - 1) / n about E g. q itself strays with the layers below, and what
is a function of q follows it by its logarithmic slope. Samples of a batch are taken to be alike, as they are deep in
most networks: where they are not, their mean strays less, so that the band is wide enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from winit.activations import Activation
from winit.lab.mean_field import LayerTheory

__all__ = ["Strays", "strays"]

_STEP = 1e-4  # of ln q, for slopes


class Strays(NamedTuple):
    """Standard deviations, over draws of the weights, of the logarithms of a layer's std and grad_std."""

    std: float
    grad_std: float


def _nodes() -> tuple[np.ndarray, np.ndarray]:
    z, mass = np.polynomial.hermite_e.hermegauss(120)
    return z, mass / mass.sum()


def strays(
    theory: Sequence[LayerTheory],
    widths: Sequence[int],
    activations: Sequence[Activation],
    weights: Sequence[float],
) -> list[Strays]:
    """Return how far each layer's std and grad_std stray from the theory: exp(-2 s) to exp(2 s) times it, as a rule.

    With relu and weights of He's law the std strays by sqrt(5 l / n) / 2 after l layers of n units.

    Parameters
    ----------
    theory : of each layer, as winit.lab.mean_field.variances returns it.
    widths : of the input and of each layer.
    activations, weights : of each layer: f, and s, the variance of a weight times fan_in.

    Returns
    -------
    list of Strays : NaN where the theory is not known, or the signal 0 or infinite.

    >>> from winit.activations import relu
    >>> from winit.lab.mean_field import variances
    >>> theory = variances(1.0, [256] * 5, [relu()] * 4, [2.0] * 4, [0.0] * 4, 1.0)
    >>> round(strays(theory, [256] * 5, [relu()] * 4, [2.0] * 4)[0].grad_std / (math.sqrt(5 * 3 / 256) / 2), 2)
    1.0

    """
    z, mass = _nodes()

    def expected(g: Callable[[np.ndarray], np.ndarray], q: float) -> float:
        return float((mass * g(math.sqrt(q) * z)).sum())

    def slope(g: Callable[[float], float], q: float) -> float:
        here, there = g(q), g(q * (1 + _STEP))
        return math.log(there / here) / _STEP if here > 0 and there > 0 else 0.0

    def excess(g: Callable[[np.ndarray], np.ndarray], q: float) -> float:
        mean = expected(g, q)
        return max(expected(lambda x: g(x) ** 2, q) / mean**2 - 1, 0.0) if mean else 0.0

    def spread(f: Activation, q: float) -> float:
        mean = expected(f.value, q)
        return expected(lambda x: (f.value(x) - mean) ** 2, q)

    stds, moved, back = [], [], []
    held = 0.0  # the variance of ln q of this layer
    for at, (layer, f) in enumerate(zip(theory, activations, strict=True)):
        q, width = layer.q, widths[at + 1]
        if not 0 < q < math.inf:
            return [Strays(math.nan, math.nan)] * len(theory)
        with np.errstate(all="ignore"):
            mean = expected(f.value, q)
            own = excess(lambda x, f=f, mean=mean: (f.value(x) - mean) ** 2, q) / width  # type: ignore[misc]
            stds.append(math.sqrt(own + slope(lambda v, f=f: spread(f, v), q) ** 2 * held) / 2)  # type: ignore[misc]
            # Of a gradient's product with f', both of which stray: E g^4 = 3 (E g^2)^2.
            slopes = 3 * (excess(lambda x, f=f: f.derivative(x) ** 2, q) + 1) - 1  # type: ignore[misc]
            back.append(slopes / width)
            moved.append(abs(slope(f.squared_slope, q)) * math.sqrt(held))
            if at + 1 < len(theory):
                whole = excess(lambda x, f=f: f.value(x) ** 2, q) / width  # type: ignore[misc]
                kept = weights[at + 1] * layer.second_moment / theory[at + 1].q if theory[at + 1].q else 0.0
                held = kept**2 * (whole + slope(f.second_moment, q) ** 2 * held)
    grads, squares, along = [0.0], 0.0, 0.0
    for at in range(len(theory) - 1, 0, -1):
        squares, along = squares + back[at], along + moved[at]
        grads.append(math.sqrt(squares + along**2) / 2)
    return [Strays(std, grad) for std, grad in zip(stds, grads[::-1], strict=True)]
