"""What very wide networks do: variances forwards, gradients backwards, how both spread, two inputs, fixed points.

Pre-activations of a wide layer are normal with variance q_l = s E f(z)^2 + b, z ~ N(0, q_(l-1)), s the variance of a
weight times fan_in and b that of a bias (Poole et al. 2016, arXiv 1606.05340); the mean square of gradients changes by
s E f'(z)^2 times fan_out over fan_in a layer (Schoenholz et al. 2017, arXiv 1611.01232). A residual adds what it skips,
a norm divides by the root of what it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from winit._core.scheme import Scheme
from winit.activations import Activation
from winit.lab.network import EPSILON

__all__ = [
    "LayerTheory", "chi", "correlation_fixed_point", "correlation_length", "fixed_point", "together", "variances",
    "weight_variance",
]  # fmt: skip

REACH = 13.0  # standard deviations over which expectations are taken: what lies beyond is below 1e-37
SLIGHT = 1e-4  # relative change by which slopes of maps are taken


class LayerTheory(NamedTuple):
    """What is expected of one layer; NaN where the weights are no draws of mean 0.

    q : variance of its pre-activations. mean, std, second_moment : of its output over units and samples. grad_std : of
    the gradient at its output. log_spread, std_log_spread, grad_log_spread : standard deviations, from network to
    network, of the logarithms of second_moment, std and grad_std for one sample, at the width there is; of many
    samples they are at most that.
    """

    q: float
    mean: float
    std: float
    second_moment: float
    grad_std: float
    log_spread: float
    std_log_spread: float
    grad_log_spread: float


class _Held(NamedTuple):
    """A layer's output: mean and variance over its units."""

    mean: float
    variance: float

    @property
    def second(self) -> float:
        """Mean square."""
        return math.inf if self.variance == math.inf else self.variance + self.mean * self.mean


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
    *,
    mean: float = 0.0,
    bias_means: Sequence[float] | None = None,
    residual: bool = False,
    norm: str | None = None,
) -> list[LayerTheory]:
    """Follow an input of a second moment through the layers, and a gradient of a std at the output back.

    With mean-field's independence each unit's number is f(z), z ~ N(m, q), q = s r + b, r the mean square of what the
    layer reads. A mean over n units strays from its expectation by a relative variance of kappa / n, kappa = Var f^2 /
    (E f^2)^2 (relu: 5), and what has strayed before goes on by the slope of the map.

    Parameters
    ----------
    second_moment, mean : of the input, over units and samples.
    widths : of the input and of each layer.
    activations, weights, biases : of each layer: f, s and b, the variance of its biases.
    grad_std : of the gradient at the network's output.
    bias_means : of each layer; None for 0.
    residual, norm : as of Network.

    Returns
    -------
    list of LayerTheory, one a layer. NaN from where a variance is NaN; spreads and gradients are NaN where a layer's
    input or output is 0 or infinite.

    Source: Poole et al. 2016 and Schoenholz et al. 2017, as above; the spreads are winit's own, to first order in
    1 / n.

    >>> from winit.activations import relu
    >>> found = variances(1.0, [100] * 3, [relu()] * 2, [2.0] * 2, [0.0] * 2, 1.0)
    >>> [(round(layer.second_moment, 6), round(layer.log_spread, 3)) for layer in found]
    [(1.0, 0.224), (1.0, 0.316)]

    """
    depth = len(weights)
    shifts = [0.0] * depth if bias_means is None else list(bias_means)
    held, strayed = _Held(mean, max(second_moment - mean * mean, 0.0)), 0.0
    found: list[tuple[float, _Held, float, float]] = []
    ratios: list[tuple[float, float]] = []  # of mean squares of gradients, backwards through a layer; and kappa
    for layer in range(depth):
        f, s, b, m, n = activations[layer], weights[layer], biases[layer], shifts[layer], widths[layer + 1]
        adds = residual and n == widths[layer]
        q = s * _read(held, norm) + b
        after = _step(held, f=f, s=s, b=b, m=m, adds=adds, norm=norm)
        if not (math.isfinite(after.second) and held.second > 0 and after.second > 0):
            found.append((q, after, math.nan, math.nan))
            ratios.append((math.nan, math.nan))
            held, strayed = after, math.nan
            continue
        slopes = _slopes(held, partial(_step, f=f, s=s, b=b, m=m, adds=adds, norm=norm))
        # Of numbers divided by their size first: fourth powers overflow long before squares do.
        root = math.sqrt(after.second)
        square = _power(f.value, 2, m, q, root)
        own = _power(f.value, 4, m, q, root) - square * square
        own += 4 * held.second / after.second * square if adds else 0.0
        std = math.sqrt(after.variance)
        apart = math.nan
        if std > 0:
            centre = after.mean - held.mean if adds else after.mean
            square = _power(f.value, 2, m, q, std, centre)
            apart = _power(f.value, 4, m, q, std, centre) - square * square
            apart += 4 * held.variance / after.variance * square if adds else 0.0
        total = slopes[0] ** 2 * strayed + own / n
        of_std = slopes[1] ** 2 * strayed + apart / n
        found.append((q, after, math.sqrt(max(total, 0.0)), math.sqrt(max(of_std, 0.0)) / 2))
        slope = _power(f.derivative, 2, m, q)
        ratio = s * slope * n / widths[layer] / _divisor(held, norm)
        # A mean of g^2 over n units varies by 2 / n; one weighted by f'^2 against it by 3 Var(f'^2) / E(f'^2)^2 / n.
        bends = 3 * (_power(f.derivative, 4, m, q) / (slope * slope) - 1) if slope > 0 else math.nan
        own = bends / n + 2 / widths[layer]
        if adds:  # of the sum of what went through the weights and what went past them, which are independent
            whole = ratio + 1
            own = (own * ratio * ratio + 4 * ratio / n) / (whole * whole)
        ratios.append((ratio + adds, own))
        held, strayed = after, total
    grads = [(grad_std, 0.0)]
    for ratio, kappa in ratios[:0:-1]:
        size, spread = grads[-1]
        grads.append((size * math.sqrt(ratio) if ratio >= 0 else math.nan, spread + kappa))
    return [
        LayerTheory(q, y.mean, math.sqrt(y.variance), y.second, size, log_spread, std_spread, math.sqrt(spread) / 2)
        for (q, y, log_spread, std_spread), (size, spread) in zip(found, grads[::-1], strict=True)
    ]


def _divisor(held: _Held, norm: str | None) -> float:
    """What a norm divides squares by."""
    return 1.0 if norm is None else (held.variance if norm == "layer" else held.second) + EPSILON


def _read(held: _Held, norm: str | None) -> float:
    """Mean square of what a layer reads."""
    return (held.variance if norm == "layer" else held.second) / _divisor(held, norm)


def _step(held: _Held, *, f: Activation, s: float, b: float, m: float, adds: bool, norm: str | None) -> _Held:
    """A layer's output from its input. What it adds to its input is independent of that, unit by unit."""
    q = s * _read(held, norm) + b
    if not math.isfinite(q):
        return _Held(math.nan, q)
    mean = _power(f.value, 1, m, q)
    variance = _power(f.value, 2, m, q, 1.0, mean)
    return _Held(held.mean + mean, held.variance + variance) if adds else _Held(mean, variance)


def _slopes(held: _Held, step: Callable[[_Held], _Held]) -> tuple[float, float]:
    """Return the slopes of log second moment and log variance of the output, by log mean square of the input."""
    logs = []
    for factor in (1 + SLIGHT, 1 - SLIGHT):
        after = step(_Held(held.mean * math.sqrt(factor), held.variance * factor))
        logs.append((math.log(after.second), math.log(after.variance) if after.variance > 0 else math.nan))
    (up, wide), (down, narrow) = logs
    return (up - down) / (2 * SLIGHT), (wide - narrow) / (2 * SLIGHT)


# ---- two inputs, fixed points


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


def correlation_fixed_point(f: Activation, s: float, b: float, steps: int = 2000) -> float:
    """Return the correlation c* to which two inputs' pre-activations go, layer by layer: 1 where chi_1 <= 1.

    c -> (s E f(z1) f(z2) + b) / q*, z1 and z2 normal of variance q* and correlation c. NaN where q* is 0 or infinite.

    Source: Poole et al. 2016 (arXiv 1606.05340), equation 5.

    >>> from winit.activations import tanh
    >>> correlation_fixed_point(tanh(), 1.0, 0.1), 0 < correlation_fixed_point(tanh(), 4.0, 0.1) < 1
    (1.0, True)

    """
    q = fixed_point(f, s, b)
    if not 0 < q < math.inf:
        return math.nan
    if chi(f, s, q) <= 1:
        return 1.0
    c = 0.5
    for _ in range(steps):
        after = (s * together(f.value, q, c) + b) / q
        if abs(after - c) < 1e-13:
            break
        c = after
    return c


def correlation_length(f: Activation, s: float, b: float) -> float:
    """Return xi = -1 / ln(s E f'(z1) f'(z2)) at c*: layers over which what tells two inputs apart shrinks by e.

    Networks much deeper than a few xi cannot be trained. inf at the edge of chaos (chi_1 = 1); NaN where q* is 0 or
    infinite.

    Source: Schoenholz et al. 2017 (arXiv 1611.01232), equation 9.

    >>> from winit.activations import tanh
    >>> round(correlation_length(tanh(), 1.0, 0.1), 2)
    2.68

    """
    q = fixed_point(f, s, b)
    if not 0 < q < math.inf:
        return math.nan
    c = correlation_fixed_point(f, s, b)
    slope = chi(f, s, q) if c == 1 else s * together(f.derivative, q, c)
    return math.inf if abs(slope - 1) < 1e-9 else -1 / math.log(slope) if slope < 1 else math.nan


# ---- expectations


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(400)


def _power(
    function: Callable[[Any], Any], power: int, mean: float, variance: float, scale: float = 1.0, centre: float = 0.0
) -> float:
    """E ((g(z) - centre) / scale)^power, z ~ N(mean, variance), on both sides of the kink that g may have at 0."""
    if not (math.isfinite(mean) and 0 <= variance < math.inf):
        return math.nan
    if variance == 0:
        return float(((function(np.array([mean])) - centre) / scale)[0] ** power)
    std = math.sqrt(variance)
    kink = min(max(-mean / std, -REACH), REACH)
    nodes, masses = _nodes()
    total = 0.0
    with np.errstate(all="ignore"):
        for low, high in ((-REACH, kink), (kink, REACH)):
            half = (high - low) / 2
            at = low + half * (nodes + 1)
            density = np.exp(-at * at / 2) / math.sqrt(2 * math.pi)
            value = ((function(mean + std * at) - centre) / scale) ** power
            total += float((half * masses * density * value).sum())
    return total


def together(function: Callable[[Any], Any], q: float, c: float) -> float:
    """E g(z1) g(z2), both N(0, q) and of correlation c: z2 = c z1 + sqrt(1 - c^2) another."""
    nodes, masses = np.polynomial.legendre.leggauss(200)
    at, mass = 8.5 * nodes, 8.5 * masses * np.exp(-((8.5 * nodes) ** 2) / 2) / math.sqrt(2 * math.pi)
    std = math.sqrt(q)
    second = c * at[:, None] + math.sqrt(max(1 - c * c, 0.0)) * at
    return float((mass[:, None] * mass * function(std * at)[:, None] * function(std * second)).sum())
