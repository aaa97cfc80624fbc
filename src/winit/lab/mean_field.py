"""What very wide networks do: variances forwards, gradients backwards, correlations of two inputs, fixed points.

Pre-activations of a wide layer are normal with variance q_l = s E f(z)^2 + b, z ~ N(0, q_(l-1)), s the variance of a
weight times fan_in and b that of a bias (Poole et al. 2016, arXiv 1606.05340); the mean square of gradients changes by
s E f'(z)^2 times fan_out over fan_in a layer (Schoenholz et al. 2017, arXiv 1611.01232).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from winit._core.scheme import Scheme
from winit.activations import Activation

__all__ = ["LayerTheory", "chi", "fixed_point", "variances", "weight_variance"]


class LayerTheory(NamedTuple):
    """What is expected of one layer; NaN where the weights are no draws of mean 0.

    q : variance of its pre-activations. mean, std, second_moment : of its output over units and samples. grad_std : of
    the gradient at its output.
    """

    q: float
    mean: float
    std: float
    second_moment: float
    grad_std: float


def weight_variance(scheme: Scheme, shape: tuple[int, int]) -> float:
    """Return s, the variance of a weight times fan_in; NaN where the mean is not 0.

    >>> import winit
    >>> round(weight_variance(winit.he_normal(), (512, 256)), 12)
    2.0
    """
    moments = scheme.moments(shape, "oi")
    return moments.std**2 * shape[1] if moments.mean == 0 else math.nan


def variances(
    second_moment: float,
    widths: Sequence[int],
    activations: Sequence[Activation],
    weights: Sequence[float],
    biases: Sequence[float],
    grad_std: float,
) -> list[LayerTheory]:
    """Follow an input of a second moment through the layers, and a gradient of a std at the output back.

    Parameters
    ----------
    second_moment : of the input, over units and samples.
    widths : of the input and of each layer.
    activations, weights, biases : of each layer: f, s and b.
    grad_std : of the gradient at the network's output.

    """
    forward = []
    held = second_moment
    for f, s, b in zip(activations, weights, biases, strict=True):
        q = s * held + b
        if not math.isfinite(q):
            forward.append((q, math.nan, q, math.nan))
            held = q
            continue
        held, mean = f.second_moment(q), f.mean(q)
        forward.append((q, mean, held, f.squared_slope(q)))
    backward = [grad_std]
    for layer in range(len(weights) - 1, 0, -1):
        slope = forward[layer][3]
        ratio = weights[layer] * slope * widths[layer + 1] / widths[layer]
        backward.append(backward[-1] * math.sqrt(ratio) if ratio >= 0 else math.nan)
    found = []
    for (q, mean, second, _), grad in zip(forward, backward[::-1], strict=True):
        spread = second - mean * mean
        found.append(LayerTheory(q, mean, math.sqrt(max(spread, 0.0)) if spread == spread else spread, second, grad))
    return found


def chi(f: Activation, s: float, q: float) -> float:
    """Return chi_1 = s E f'(z)^2, z ~ N(0, q): below 1 two inputs become one, above they part.

    >>> from winit.activations import relu
    >>> round(chi(relu(), 2.0, 0.7), 12)
    1.0
    """
    return s * f.squared_slope(q)


def fixed_point(f: Activation, s: float, b: float, start: float = 1.0, steps: int = 10_000) -> float:
    """Return the variance q* to which q -> s E f^2 + b goes from a start; inf where it grows without end.

    >>> from winit.activations import sigmoid
    >>> q = fixed_point(sigmoid(), 1.0, 0.0)
    >>> abs(q - sigmoid().second_moment(q)) < 1e-12
    True
    """
    q = start
    for _ in range(steps):
        after = s * f.second_moment(q) + b
        if not math.isfinite(after) or after > 1e30:
            return math.inf
        if abs(after - q) <= 1e-14 * max(abs(after), 1e-300):
            return after
        q = after
    return q
