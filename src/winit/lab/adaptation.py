"""Initialisations that look at data or at a step of training: what a batch says of the scale of each layer.

a) lsuv          each layer's pre-activations to one variance, layer after layer
b) krahenbuhl    each unit's to mean 0 and variance 1; then layers to one relative rate of change
c) gradinit      scales that make the loss after one step of an optimiser least
d) metainit      scales that make the gradient change least along itself

c) and d) need second derivatives along a direction: differences of gradients in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from winit._core.checks import check_bool, check_integer, check_one_of, check_positive
from winit._core.drawing import draw
from winit._dense.statistics import batch_statistics
from winit.lab.network import Network, check_learning_rate, check_stored
from winit.lab.penalties import sum_of_squares
from winit.lab.tables import Table
from winit.lab.training import check_share, loss_at
from winit.lab.units import labels_of
from winit.schemes.plain import normal

__all__ = ["Adapted", "adapt"]

TINY = 1e-30  # a variance below this is a unit or a layer that does not vary: nothing to divide by


class Adapted(NamedTuple):
    """What adapt returns.

    network : with the new weights and biases. table : a row a layer, what was changed. history : the method's own
    objective, step by step: krahenbuhl's largest |log(C_l / C)|, gradinit's least loss, metainit's quotient, of which
    the least is taken; empty for lsuv.
    """

    network: Network
    table: Table
    history: list[float]


def adapt(
    network: Network,
    method: str = "lsuv",
    x: Any = None,
    labels: Any = None,
    *,
    batch: int = 256,
    **options: Any,
) -> Adapted:
    """Scale a network's weights by what a batch does in it.

    ============  ============================================================================================
    lsuv          Each layer in turn: W /= std(z) until |std(z)^2 - std^2| < tolerance, z the pre-activations of the
                  batch. Options: std=1.0, tolerance=0.1, steps=10. Its paper starts from orthogonal weights.
    krahenbuhl    Within each layer: W_i /= std(z_i), b_i = -mean(z_i) / std(z_i), so that each unit has mean 0 and
                  variance 1. Between layers, with C_l^2 = mean of (dL/dW)^2 / W^2 over the layer's weights:
                  W_l *= (C_l / C)^damping, by which W_(l+1) is divided, C the geometric mean, until the C_l agree:
                  a layer that changes too fast for its size is made larger. L = eta . y, eta standard normal, so that
                  labels are not needed. Options: within=True, between=True, damping=0.25, steps=50. For networks
                  without residuals and norms.
    gradinit      Learn a factor for each weight and bias: least loss after one step of an optimiser,
                  L(w - learning_rate A(g)), with A(g) = g for "sgd" and sign(g) for "adam", while |g| (2-norm, or
                  1-norm for adam) is at most gamma. Options: optimiser="sgd", learning_rate=0.1, gamma=1.0,
                  steps=200, rate=0.02 (of the factors, by Adam), least=0.01 (factor). Needs labels.
                  history: the loss after a step by the best factors so far; inf before any keep to gamma.
    metainit      Learn a factor for each weight: least gradient quotient, mean |(g - H g) / (g + e) - 1|, e = 1e-5
                  with g's sign: how much the gradient changes along itself, and 1 where there is none. Options:
                  steps=50, rate=0.1 (of the factors' logarithms, by the sign of the gradient with momentum),
                  momentum=0.5. Draws labels where none come.
    ============  ============================================================================================

    Parameters
    ----------
    network : Network with stored weights. It is not changed.
    method : "lsuv", "krahenbuhl", "gradinit" or "metainit".
    x : (samples, widths[0]), finite; None draws standard normal inputs from the network's own stream.
    labels : (samples,), ints in [0, widths[-1]).
    batch : int. Samples to draw where x is None.
    options : of the method, as above.

    Returns
    -------
    Adapted : table has layer, factor (by which the size of the layer's weights changed), std_before, std_after (of
        its pre-activations).

    Raises
    ------
    TypeError, ValueError : what is not as above; a layer or unit whose pre-activations do not vary.

    Source: Mishkin and Matas 2016 (arXiv 1511.06422); Krähenbühl et al. 2016 (arXiv 1511.06856), algorithms 1 and 2;
    Zhu et al. 2021 (arXiv 2102.08098), algorithm 1; Dauphin and Schoenholz 2019 (MetaInit, NeurIPS), equation 3.

    >>> import winit
    >>> from winit.lab import Network, adapt
    >>> network = Network([50] * 6, "tanh", winit.normal(std=0.01), seed=0)
    >>> [round(std, 2) for std in adapt(network).table.column("std_after")]
    [1.0, 1.0, 1.0, 1.0, 1.0]

    """
    check_stored(network)
    methods: dict[str, Callable[..., list[float]]] = {
        "lsuv": _lsuv, "krahenbuhl": _krahenbuhl, "gradinit": _gradinit, "metainit": _metainit,
    }  # fmt: skip
    check_one_of(method, tuple(methods), "method")
    allowed = OPTIONS[method]
    for name in options:
        if name not in allowed:
            raise TypeError(f"{method} has no option {name!r}; it has {', '.join(allowed)}")
    x = network.draw_input(check_integer(batch, "batch")) if x is None else network.check_input(x)
    if labels is None and method == "gradinit":
        raise ValueError("gradinit needs labels: it makes a loss small")
    labels = labels_of(network, len(x), labels)
    adapted = network.copy()
    with np.errstate(all="ignore"):
        before = [_moments(z)[1] for z in _pre_activations(network, x)]
        history = methods[method](adapted, x, labels, **{**allowed, **options})
        after = [_moments(z)[1] for z in _pre_activations(adapted, x)]
    factors = [
        math.sqrt(sum_of_squares(new) / size) if (size := sum_of_squares(old)) else math.nan
        for old, new in zip(_weights(network), _weights(adapted), strict=True)
    ]
    table = Table(
        {"layer": list(range(1, network.depth + 1)), "factor": factors, "std_before": before, "std_after": after},
        f"{method} of {network!r}",
    )
    return Adapted(adapted, table, history)


OPTIONS: dict[str, dict[str, Any]] = {
    "lsuv": {"std": 1.0, "tolerance": 0.1, "steps": 10},
    "krahenbuhl": {"within": True, "between": True, "damping": 0.25, "steps": 50},
    "gradinit": {
        "optimiser": "sgd", "learning_rate": 0.1, "gamma": 1.0, "steps": 200, "rate": 0.02, "least": 0.01,
    },
    "metainit": {"steps": 50, "rate": 0.1, "momentum": 0.5},
}  # fmt: skip


def _weights(network: Network) -> list[np.ndarray]:
    """The stored weights."""
    return [np.asarray(weight) for weight in network.weights]


def _moments(z: np.ndarray) -> tuple[float, float]:
    """Mean and std over units and samples."""
    found = batch_statistics(np.ascontiguousarray(z), directions=False)
    mean = float(found.mean.mean())
    return mean, math.sqrt(float(found.variance.mean()) + float(((found.mean - mean) ** 2).mean()))


def _pre_activations(network: Network, x: np.ndarray) -> list[np.ndarray]:
    """Of each layer what goes into its activation."""
    found, held = [], x
    for layer in range(1, network.depth + 1):
        found.append(network.layer(layer, held, "identity"))
        held = network.layer(layer, held)
    return found


# ---- a) lsuv


def _lsuv(
    network: Network, x: np.ndarray, labels: np.ndarray, *, std: float, tolerance: float, steps: int
) -> list[float]:
    wanted, allowed = check_positive(std, "std"), check_positive(tolerance, "tolerance")
    steps = check_integer(steps, "steps")
    held = x
    for layer, weight in enumerate(_weights(network), 1):
        for _ in range(steps):
            found = _moments(network.layer(layer, held, "identity"))[1]
            if not TINY < found * found < math.inf:
                raise ValueError(f"layer {layer}: its pre-activations have a std of {found}, by which none can divide")
            if abs(found * found - wanted * wanted) < allowed:
                break
            weight *= weight.dtype.type(wanted / found)
        else:
            raise ValueError(
                f"layer {layer}: after {steps} steps its pre-activations have a std of {found:.3g}, not {wanted} "
                f"within the tolerance of {allowed}: its biases vary too much for scaling weights, or steps are too few"
            )
        held = network.layer(layer, held)
    return []


# ---- b) krahenbuhl


def _krahenbuhl(
    network: Network, x: np.ndarray, labels: np.ndarray, *, within: bool, between: bool, damping: float, steps: int
) -> list[float]:
    if network.residual or network.norm:
        raise ValueError("krahenbuhl is for networks without residuals and norms, which undo its scaling")
    share, steps = check_positive(damping, "damping"), check_integer(steps, "steps")
    if share > 1:
        raise ValueError(f"damping must be at most 1, beyond which layers overshoot, not {share}")
    between = check_bool(between, "between")
    if check_bool(within, "within"):
        held = x
        for layer, (weight, bias) in enumerate(zip(_weights(network), network.biases, strict=True), 1):
            bias[...] = 0
            found = batch_statistics(network.layer(layer, held, "identity"), directions=False)
            still = ~(found.variance > TINY)
            if still.any():
                raise ValueError(
                    f"layer {layer}: {int(still.sum())} of its units do not vary over the batch, and cannot be scaled"
                )
            std = np.sqrt(found.variance)
            weight /= std.astype(weight.dtype)[:, None]
            bias[...] = -found.mean / std
            held = network.layer(layer, held)
    if not between:
        return []
    history = []
    shape = len(x), network.widths[-1]
    eta = draw(normal(), shape, seed=network.seed, name="output gradient", dtype=network.dtype)
    for step in range(steps + 1):
        try:
            change = _rates_of_change(network, x, eta)
        except ValueError:
            if not step:
                raise
            raise ValueError(
                f"damping must be less than {share}: after {step} steps weights or gradients are 0 or infinite"
            ) from None
        middle = math.exp(math.fsum(map(math.log, change)) / len(change))
        history.append(max(abs(math.log(each / middle)) for each in change))
        if step == steps:
            break
        undo = 1.0
        for layer, weight in enumerate(_weights(network)):
            factor = (change[layer] / middle) ** share
            weight *= weight.dtype.type(factor / undo)  # by its own factor, and against that of the layer before
            network.biases[layer] *= network.biases[layer].dtype.type(factor)
            undo = factor
    return history


def _rates_of_change(network: Network, x: np.ndarray, eta: np.ndarray) -> list[float]:
    """C_l of each layer, but for one factor of all.

    The samples' etas are independent, so that the square of the gradient of their mean is expected to be the mean of
    the squares of their gradients, over the number of samples.
    """
    gradients = network.backward(network.forward(x), eta / np.asarray(len(x), eta.dtype)).weights
    found = []
    for layer, (weight, gradient) in enumerate(zip(_weights(network), gradients, strict=True), 1):
        size, slope = sum_of_squares(weight), sum_of_squares(gradient)
        if not (size > 0 and 0 < slope < math.inf):
            raise ValueError(f"layer {layer}: its weights or their gradient are 0 or infinite")
        found.append(math.sqrt(slope / size))
    return found


# ---- c) gradinit, d) metainit


class _Model:
    """A network in float64 whose tensors have factors: losses and gradients at any factors and displacements."""

    def __init__(self, network: Network, x: np.ndarray, labels: np.ndarray) -> None:
        self.network = network.astype("float64")
        self.x, self.labels = x.astype(np.float64), labels
        self.loss = "cross_entropy" if network.activations[-1].name == "identity" else "squared_error"
        self.start = [tensor.copy() for tensor in (*_weights(self.network), *self.network.biases)]

    def at(self, tensors: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        """Loss and gradients at tensors."""
        depth = self.network.depth
        self.network.weights, self.network.biases = list(tensors[:depth]), tensors[depth:]
        trace = self.network.forward(self.x)
        loss, top = loss_at(trace.outputs[-1], self.labels, self.loss)
        gradients = self.network.backward(trace, top)
        return loss, [*gradients.weights, *gradients.biases]

    def scaled(self, factors: np.ndarray) -> list[np.ndarray]:
        """The tensors at factors."""
        return [factor * tensor for factor, tensor in zip(factors, self.start, strict=True)]

    def along(self, tensors: list[np.ndarray], direction: list[np.ndarray]) -> list[np.ndarray]:
        """H v: how the gradient changes along a direction, by a central difference."""
        length = math.sqrt(math.fsum(map(sum_of_squares, direction)))
        if not 0 < length < math.inf:
            return [np.zeros_like(tensor) for tensor in tensors]
        reach = 1e-5 * max(math.sqrt(math.fsum(map(sum_of_squares, tensors))), 1e-3) / length
        ahead = self.at([t + reach * v for t, v in zip(tensors, direction, strict=True)])[1]
        behind = self.at([t - reach * v for t, v in zip(tensors, direction, strict=True)])[1]
        return [(a - b) / (2 * reach) for a, b in zip(ahead, behind, strict=True)]

    def give(self, factors: np.ndarray, network: Network) -> None:
        """Scale a network's own tensors."""
        for factor, tensor in zip(factors, [*_weights(network), *network.biases], strict=True):
            tensor *= tensor.dtype.type(factor)


def _inner(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """Of each pair of tensors the sum of products."""
    return np.array([float((x * y).ravel().sum()) for x, y in zip(a, b, strict=True)])


def _gradinit(
    network: Network, x: np.ndarray, labels: np.ndarray, *, optimiser: str, learning_rate: float, gamma: float,
    steps: int, rate: float, least: float,
) -> list[float]:  # fmt: skip
    sgd = check_one_of(optimiser, ("sgd", "adam"), "optimiser") == "sgd"
    step_size, bound, pace = (
        check_learning_rate(learning_rate),
        check_positive(gamma, "gamma"),
        check_positive(rate, "rate"),
    )
    floor, steps = check_positive(least, "least"), check_integer(steps, "steps")
    if floor > 1:
        raise ValueError(f"least must be at most 1, where all factors begin, not {floor}")
    model = _Model(network, x, labels)
    factors = np.ones(len(model.start))
    first, second = np.zeros_like(factors), np.zeros_like(factors)
    powers = [1.0, 1.0]
    history = []
    best, found = math.inf, factors.copy()
    for step in range(steps + 1):
        tensors = model.scaled(factors)
        _, g = model.at(tensors)
        moved = g if sgd else [np.sign(each) for each in g]
        size = (
            math.sqrt(math.fsum(map(sum_of_squares, g))) if sgd else math.fsum(float(np.abs(each).sum()) for each in g)
        )
        if not math.isfinite(size):
            raise ValueError(
                f"the gradient is not finite after {step} steps, and rate must be less than {pace}"
                if step
                else "the gradient is not finite at the start: scale the weights down first"
            )
        after, v = model.at([t - step_size * m for t, m in zip(tensors, moved, strict=True)])
        if size <= bound and after < best:
            best, found = after, factors.copy()
        history.append(best)
        if size > bound:
            pull = model.along(tensors, [each / size for each in g] if sgd else moved)
        elif sgd:
            pull = [a - step_size * b for a, b in zip(v, model.along(tensors, v), strict=True)]
        else:
            pull = v  # the sign of a gradient has no slope
        slope = _inner(pull, model.start)
        powers = [powers[0] * 0.9, powers[1] * 0.999]
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope * slope
        factors = factors - pace * (first / (1 - powers[0])) / (np.sqrt(second / (1 - powers[1])) + 1e-12)
        factors = np.maximum(factors, floor)
    if best == math.inf:
        raise ValueError(f"no factors were found in {steps} steps whose gradient is at most gamma = {bound}")
    model.give(found, network)
    return history


def _metainit(
    network: Network, x: np.ndarray, labels: np.ndarray, *, steps: int, rate: float, momentum: float
) -> list[float]:
    pace, steps, kept = check_positive(rate, "rate"), check_integer(steps, "steps"), check_share(momentum, "momentum")
    model = _Model(network, x, labels)
    logs, speed = np.zeros(network.depth), np.zeros(network.depth)
    biases = np.zeros(network.depth)
    history = []
    best, found = math.inf, logs.copy()
    for _ in range(steps + 1):
        quotient = _quotient(model, np.exp(np.concatenate([logs, biases])))
        history.append(quotient)
        if quotient < best:
            best, found = quotient, logs.copy()
        slope = np.zeros_like(logs)
        for layer in range(network.depth):
            ends = []
            for reach in (1e-3, -1e-3):
                moved = logs.copy()
                moved[layer] += reach
                ends.append(_quotient(model, np.exp(np.concatenate([moved, biases]))))
            slope[layer] = ends[0] - ends[1]
        speed = kept * speed - pace * np.sign(slope)
        logs = logs + speed
    if not math.isfinite(best):
        raise ValueError("the gradient quotient is not finite at the start: scale the weights down first")
    model.give(np.exp(np.concatenate([found, biases])), network)
    return history


def _quotient(model: _Model, factors: np.ndarray) -> float:
    """Mean of |(g - H g) / (g + e) - 1| over all weights; e keeps gradients of 0 from being the best there are."""
    tensors = model.scaled(factors)
    _, g = model.at(tensors)
    depth = model.network.depth
    bent = model.along(tensors, g)
    total = count = 0.0
    for slope, change in zip(g[:depth], bent[:depth], strict=True):
        small = np.where(slope >= 0, 1e-5, -1e-5)
        total += float(np.abs((slope - change) / (slope + small) - 1).ravel().sum())
        count += slope.size
    return total / count
