"""Do units differ? Units of a layer that compute the same and get the same gradient stay one unit for ever."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from winit._core.checks import check_integer, check_path
from winit._core.drawing import words
from winit._core.dtypes import LARGEST
from winit._core.keys import stream_key
from winit._dense.virtual import Virtual
from winit._plans.plan import Plan
from winit.lab.matrices import distinct, incoming
from winit.lab.network import (
    Network,
    array_of,
    check_learning_rate,
    check_stored,
    cross_entropy,
    mean_squared_error,
)
from winit.lab.tables import Table

__all__ = ["distinct", "symmetry"]


STEPS, LEARNING_RATE, BATCH = 3, 0.1, 32  # of a network, where they are not given


def symmetry(
    network: Any,
    x: Any = None,
    steps: int | None = None,
    *,
    labels: Any = None,
    learning_rate: float | None = None,
    batch: int | None = None,
    seed: int | None = None,
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

    A plan, a torch module and a checkpoint are asked how many units of each matrix differ in their incoming weights:

    ======================  ================================================================================
    name                    of each floating-point tensor of two or more axes: equal biases and norms are no fault
    units                   its output units: in a plan the indices along the out and batch axes of its layout; in
                            files and modules those along axis 0, and along axis 1 in transposed convolutions of modules
    distinct                units whose incoming weights differ in a bit
    ======================  ================================================================================

    Parameters
    ----------
    network : Network with stored weights, which is not changed; or a Plan, whose tensors are drawn one by one, and its
        constants not at all; or a torch.nn.Module; or the path of a safetensors or npz file, an index or a folder.
        What follows is for a Network, but for seed.
    x : (batch, widths[0]), finite; None draws standard normal inputs from the network's own stream.
    steps : int >= 0, 3 by default.
    labels : (batch,), ints in [0, widths[-1]); None draws them. Where the output is "identity" the loss is softmax
        cross-entropy, else the squared error to 1 at the label and 0 elsewhere.
    learning_rate : float > 0, 0.1 by default.
    batch : int, 32 by default. Samples to draw where x is None.
    seed : int, 0 <= seed < 2^64, 0 by default. Of a plan's tensors, and for a plan alone.

    Returns
    -------
    Table with depth rows a step; of a plan, a module or a file with a row a matrix.

    Raises
    ------
    TypeError, ValueError : what is not as above; what is given for a network and is asked of something else.
    OSError : a file cannot be read.

    Source: Rumelhart, Hinton and Williams 1986 on breaking symmetry.

    >>> import winit
    >>> from winit.lab import Network, symmetry
    >>> for row in symmetry(Network([8, 6, 4], "sigmoid", winit.zeros(), output="identity", seed=4), steps=1):
    ...     print(*row.values())
    0 1 6 1 1
    0 2 4 1 4
    1 1 6 1 1
    1 2 4 4 4
    >>> plan = winit.Plan({"a": winit.Param((5, 3), winit.ones()), "b": winit.Param((5, 3), winit.normal())})
    >>> print(symmetry(plan))
    name  units  distinct
    a         5         1
    b         5         5

    """
    if not isinstance(network, Network):
        given = {"x": x, "steps": steps, "labels": labels, "learning_rate": learning_rate, "batch": batch}
        return _incoming(network, given, seed)
    if seed is not None:
        raise TypeError("seed is for a plan: a network has been drawn")
    steps = STEPS if steps is None else steps
    learning_rate = LEARNING_RATE if learning_rate is None else learning_rate
    batch = BATCH if batch is None else batch
    check_stored(network)
    steps = check_integer(steps, "steps", 0)
    rate = check_learning_rate(learning_rate)
    if rate > LARGEST[network.dtype]:
        raise ValueError(f"learning_rate {rate!r} is beyond the range of {network.dtype}")
    x = network.draw_input(check_integer(batch, "batch")) if x is None else network.check_input(x)
    chosen = labels_of(network, len(x), labels)
    with np.errstate(all="ignore"):  # a rate that is too high gives infinities, whose bits are counted as any
        return _while_trained(network.copy(), x, chosen, steps, rate)


def _while_trained(trained: Network, x: np.ndarray, chosen: np.ndarray, steps: int, rate: float) -> Table:
    """Count before training and after each step, which changes the network."""
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


def _incoming(subject: Any, given: dict[str, Any], seed: int | None) -> Table:
    """Ask something else than a network, of which nothing is trained."""
    file = isinstance(subject, (str, os.PathLike))
    if not file and not isinstance(subject, Plan) and not _is_module(subject):
        raise TypeError(
            f"network must be a winit.lab.Network, a Plan, a torch.nn.Module or a path, not {type(subject).__name__}"
        )
    kind = "a file" if file else "a plan" if isinstance(subject, Plan) else "a module"
    for name, value in given.items():
        if value is not None:
            raise TypeError(f"{name} is for a network, which is trained: {kind} is asked for its weights alone")
    if seed is not None:
        if kind != "a plan":
            raise TypeError(f"seed is for a plan, whose tensors are drawn: {kind} has its weights")
        stream_key(seed)
    return incoming(check_path(subject, "network") if file else subject, 0 if seed is None else seed)


def _is_module(subject: Any) -> bool:
    """Tell whether it is a torch module: without torch there is none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(subject, torch.nn.Module)


def _gradient(network: Network, y: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient of the loss at the output."""
    if network.activations[-1].name == "identity" and y.shape[1] > 1:
        return cross_entropy(y, labels)[1]
    target = np.zeros(y.shape)
    target[np.arange(len(y)), labels] = 1
    return mean_squared_error(y, target)[1]


def labels_of(network: Network, count: int, labels: Any) -> np.ndarray:
    """Return a caller's labels, or draw some from the network's own stream: (count,) integers in [0, widths[-1])."""
    classes = network.widths[-1]
    if labels is None:
        return (words(network.seed, "labels", 0, count) % np.uint32(classes)).astype(np.int64)
    return check_labels(labels, count, classes)


def check_labels(labels: Any, count: int, classes: int) -> np.ndarray:
    """Return a caller's labels: (count,) integers in [0, classes)."""
    array = array_of(labels, "labels")
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, not {array.dtype}")
    if array.shape != (count,):
        raise ValueError(f"labels must be of shape ({count},), one a sample, not {array.shape}")
    if count and not 0 <= int(array.min()) <= int(array.max()) < classes:
        raise ValueError(f"labels must be in [0, {classes}), not {int(array.min())} to {int(array.max())}")
    return array.astype(np.int64)
