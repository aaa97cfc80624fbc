"""Do units differ? Units of a layer that compute the same and get the same gradient stay one unit for ever."""

from __future__ import annotations

from typing import Any

import numpy as np

from winit._core.checks import check_integer
from winit._core.drawing import words
from winit._dense.virtual import Virtual
from winit.lab.network import Network, check_learning_rate, cross_entropy, mean_squared_error
from winit.lab.tables import Table

__all__ = ["distinct", "symmetry"]


def distinct(units: np.ndarray) -> int:
    """Count rows that differ in a bit.

    >>> import numpy as np
    >>> distinct(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]))
    2
    """
    rows = np.ascontiguousarray(units)
    if not rows.shape[1]:
        return min(len(rows), 1)
    return len({row.tobytes() for row in rows})


def symmetry(
    network: Network,
    x: Any = None,
    steps: int = 3,
    *,
    labels: Any = None,
    learning_rate: float = 0.1,
    batch: int = 32,
) -> Table:
    """Count the different units of each layer, before training and after each step of it.

    Units of one layer that start equal compute the same output and get the same gradient, delta_i = (sum_j W_ji
    delta_j) f'(z_i), so that every step leaves them equal. Units are told apart by bits: sums have one order here, so
    that equal units stay equal to the last one. (The Numba and NumPy engines multiply by BLAS, which has no such order:
    there equal units part by rounding.)

    ======================  ================================================================================
    step                    steps of gradient descent that were taken before: 0 is the initialisation
    layer, units            its number, and its number of units
    distinct_forward        units whose outputs over the batch differ in a bit
    distinct_gradient       units whose gradients of weights and bias differ in a bit
    ======================  ================================================================================

    Hidden layers of constant weights stay at one unit. The units of the output layer part with the first step: the
    gradient of cross-entropy at unit j is p_j - [j is the label], which differs from class to class though the scores
    are the same. Classes with equally many samples of the same scores stay together, but for rounding.

    Parameters
    ----------
    network : Network with stored weights. It is not changed.
    x : (batch, widths[0]), finite; None draws standard normal inputs from the network's own stream.
    steps : int >= 0.
    labels : (batch,), ints in [0, widths[-1]); None draws them. Where the output is "identity" the loss is softmax
        cross-entropy, else the squared error to 1 at the label and 0 elsewhere.
    learning_rate : float > 0.
    batch : int. Samples to draw where x is None.

    Returns
    -------
    Table with depth rows a step.

    Raises
    ------
    TypeError, ValueError : what is not as above.

    Source: Rumelhart, Hinton and Williams 1986 on breaking symmetry.

    >>> import winit
    >>> from winit.lab import Network, symmetry
    >>> for row in symmetry(Network([8, 6, 4], "sigmoid", winit.zeros(), output="identity", seed=4), steps=1):
    ...     print(*row.values())
    0 1 6 1 1
    0 2 4 1 4
    1 1 6 1 1
    1 2 4 4 4

    """
    if not isinstance(network, Network):
        raise TypeError(f"network must be a winit.lab.Network, not {type(network).__name__}")
    if network.virtual:
        raise ValueError("network must have stored weights: those of a virtual one cannot change")
    steps = check_integer(steps, "steps", 0)
    rate = check_learning_rate(learning_rate)
    x = network.draw_input(check_integer(batch, "batch")) if x is None else network.check_input(x)
    chosen = _labels(network, len(x), labels)
    trained = network.copy()
    rows: dict[str, list[Any]] = {}
    for step in range(steps + 1):
        trace = trained.forward(x)
        gradients = trained.backward(trace, _gradient(trained, trace.outputs[-1], chosen))
        for layer, (y, dweight, dbias) in enumerate(
            zip(trace.outputs, gradients.weights, gradients.biases, strict=True), 1
        ):
            row = {
                "step": step,
                "layer": layer,
                "units": y.shape[1],
                "distinct_forward": distinct(y.T),
                "distinct_gradient": distinct(np.column_stack([dweight, dbias])),
            }
            for name, value in row.items():
                rows.setdefault(name, []).append(value)
        for weight, bias, dweight, dbias in zip(
            trained.weights, trained.biases, gradients.weights, gradients.biases, strict=True
        ):
            assert not isinstance(weight, Virtual)
            weight -= weight.dtype.type(rate) * dweight
            bias -= bias.dtype.type(rate) * dbias
    return Table(rows)


def _gradient(network: Network, y: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient of the loss at the output."""
    if network.activations[-1].name == "identity" and y.shape[1] > 1:
        return cross_entropy(y, labels)[1]
    target = np.zeros(y.shape)
    target[np.arange(len(y)), labels] = 1
    return mean_squared_error(y, target)[1]


def _labels(network: Network, count: int, labels: Any) -> np.ndarray:
    classes = network.widths[-1]
    if labels is None:
        return (words(network.seed, "labels", 0, count) % np.uint32(classes)).astype(np.int64)
    return check_labels(labels, count, classes)


def check_labels(labels: Any, count: int, classes: int) -> np.ndarray:
    """Return a caller's labels: (count,) integers in [0, classes)."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, not {array.dtype}")
    if array.shape != (count,):
        raise ValueError(f"labels must be of shape ({count},), one a sample, not {array.shape}")
    if count and not 0 <= int(array.min()) <= int(array.max()) < classes:
        raise ValueError(f"labels must be in [0, {classes}), not {int(array.min())} to {int(array.max())}")
    return array.astype(np.int64)
