"""How large signals and gradients are, layer by layer, and how large they should be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from winit._core.checks import check_integer
from winit._core.drawing import draw
from winit._kernels.activation_rows import BIT
from winit.lab.mean_field import LayerTheory, variances, weight_variance
from winit.lab.measures import Measured, verdict_of
from winit.lab.network import Network, check_network
from winit.lab.tables import Table
from winit.schemes.plain import normal

__all__ = ["expected", "signal"]


def signal(network: Network, x: Any = None, batch: int = 1024) -> Table:
    """Measure signals and gradients layer by layer, beside what mean-field theory expects of them.

    A batch goes forwards, and a standard normal gradient at the output comes back. One row a layer, from 1:

    ======================  ================================================================================
    layer                   its number
    mean, std               of its output, over all units and samples
    unit_std                mean over units of each unit's std over the batch: what still tells samples apart
    second_moment           mean of the output's square
    dead                    share of units that are 0 for every sample
    saturated               share of elements where |f'| is below 5% of its largest
    grad_mean, grad_std     of the gradient at the layer's output, over all units and samples
    spread                  of singular values: mean square over squared mean of the squared singular values of the
                            Jacobian from this layer's output to the network's, estimated from the gradient's norms over
                            the batch; 1 for an isometry. NaN for the last layer, and for a batch of one
    correlation             mean cosine of the outputs of two samples
    expected_std, expected_second_moment, expected_grad_std
                            of a very wide network (mean_field.variances); NaN for weights whose mean is not 0
    verdict                 the first that holds: exploding: not finite, or its size or grad_std above 100 times that of
                            the input or of the gradient at the output; dead: nine tenths of the units; saturated: half
                            of the elements, of an activation other than relu and leaky_relu; vanishing: unit_std below
                            a hundredth of the input's, or grad_std of that at the output; healthy
    ======================  ================================================================================

    Parameters
    ----------
    network : Network.
    x : (batch, widths[0]), finite; None draws standard normal inputs from the network's own stream.
    batch : int. Samples to draw where x is None.

    Returns
    -------
    Table. Sums are float64; what overflows is inf, and never NaN.

    Raises
    ------
    TypeError, ValueError : x not finite, or of another shape; batch below 1.

    >>> import winit
    >>> from winit.lab import Network, signal
    >>> table = signal(Network([256] * 21, "relu", winit.normal(std=0.01), seed=0), batch=64)
    >>> table[-1]["verdict"]
    'vanishing'

    """
    check_network(network)
    x = network.draw_input(check_integer(batch, "batch")) if x is None else network.check_input(x)
    signals: list[Measured] = []
    gradients: list[Measured] = []
    with np.errstate(all="ignore"):
        given = Measured.of(x, threads=network.threads)
        trace = network.forward(
            x, stats=True, watch=lambda _, y: signals.append(Measured.of(y, threads=network.threads))
        )
        top = draw(
            normal(), trace.outputs[-1].shape, seed=network.seed, name="output gradient", dtype=network.dtype,
            threads=network.threads,
        )  # fmt: skip
        network.watch_gradients(
            trace, top, lambda _, grad: gradients.append(Measured.of(grad, gradient=True, threads=network.threads))
        )
        saturated = [stats.saturated for stats in trace.stats if stats]
        return _table(network, given, signals, saturated, gradients[::-1])


def _table(
    network: Network, given: Measured, signals: list[Measured], saturated: list[float], gradients: list[Measured]
) -> Table:
    sent_std = gradients[-1].std
    theory = expected(network, given, sent_std)
    rows: dict[str, list[Any]] = {}
    for layer, (y, grad, wide) in enumerate(zip(signals, gradients, theory, strict=True), 1):
        bends = network.activations[layer - 1].row.kept != BIT
        row: dict[str, Any] = {
            "layer": layer,
            "mean": y.mean,
            "std": y.std,
            "unit_std": y.unit_std,
            "second_moment": y.second_moment,
            "dead": y.dead,
            "saturated": saturated[layer - 1],
            "grad_mean": grad.mean,
            "grad_std": grad.std,
            "spread": math.nan if layer == network.depth else grad.spread,
            "correlation": y.correlation,
            "expected_std": wide.std,
            "expected_second_moment": wide.second_moment,
            "expected_grad_std": wide.grad_std,
            "verdict": verdict_of(y, grad.std, given, sent_std, saturated[layer - 1] if bends else 0.0),
        }
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
    return Table(rows)


def expected(network: Network, given: Measured, grad_std: float) -> list[LayerTheory]:
    """What mean-field theory expects of a network's layers; NaN where its weights are no draws of mean 0.

    Parameters
    ----------
    given : of the input. grad_std : of the gradient at the output.

    """
    shapes = list(zip(network.widths[1:], network.widths, strict=False))
    biases = [network.bias.moments((units,), "oi") for units, _ in shapes]
    return variances(
        given.second_moment,
        network.widths,
        network.activations,
        [weight_variance(scheme, shape) for scheme, shape in zip(network.schemes, shapes, strict=True)],
        [bias.std**2 for bias in biases],
        grad_std,
        mean=given.mean,
        bias_means=[bias.mean for bias in biases],
        residual=network.residual,
        norm=network.norm,
    )
