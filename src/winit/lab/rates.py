"""How fast should each layer learn? Learning rates by width or by size, and a check that width changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from winit._core.checks import check_integer, check_not_negative, check_one_of, items_of, shown
from winit.lab.modules import first_floating, inputs_of
from winit.lab.network import Network, check_learning_rate, check_network, check_stored
from winit.lab.penalties import sum_of_squares
from winit.lab.tables import Table
from winit.lab.training import Rates, loss_at
from winit.lab.units import check_labels

__all__ = ["coordinate_check", "mup_rates", "trust_rates", "trust_ratios"]


def mup_rates(network: Network, base_width: int, learning_rate: float, optimiser: str = "adam") -> Rates:
    """Return the learning rates of the maximal update parametrisation: found at a base width, right at every width.

    With r the network's hidden width over the base width, each layer's rate is the base rate times

    =======  ====================  ==============  ==================
             first layer, biases   hidden layers   last layer
    =======  ====================  ==============  ==================
    adam     1                     1 / r           1 / r
    sgd      r                     1               1 / r
    =======  ====================  ==============  ==================

    The initialisation is the other half of the method: winit.methods.mup, or standard deviations of 1 / sqrt(fan_in)
    for all but the last layer, and of sqrt(base) / fan_in there.

    Parameters
    ----------
    network : Network of equal hidden widths.
    base_width : int, hidden units where the rate was found.
    learning_rate : float > 0, that rate.
    optimiser : "adam" or "sgd".

    Source: Yang et al. 2022 (arXiv 2203.03466), table 3. The output's bias, of fixed size, has the base rate.

    >>> import winit
    >>> from winit.lab import Network, mup_rates
    >>> mup_rates(Network([8, 64, 64, 2], "relu", winit.he_normal()), 16, 0.01)
    Rates(weights=(0.01, 0.0025, 0.0025), biases=(0.01, 0.01, 0.01))

    """
    hidden = set(check_network(network).widths[1:-1])
    if len(hidden) != 1:
        raise ValueError(f"network must have hidden layers of one width, not {sorted(hidden)}")
    rate = check_learning_rate(learning_rate)
    wider = hidden.pop() / check_integer(base_width, "base_width")
    adam = check_one_of(optimiser, ("adam", "sgd"), "optimiser") == "adam"
    first, inner, last = (rate, rate / wider, rate / wider) if adam else (rate * wider, rate, rate / wider)
    depth = network.depth
    return Rates((first, *[inner] * (depth - 2), last), (*[first] * (depth - 1), rate))


def trust_ratios(network: Network, x: Any, labels: Any, *, l2: float = 0.0, loss: str = "cross_entropy") -> Table:
    """Tell how large each layer's gradient is beside its weights, before training: |w| / (|g| + l2 |w|).

    A step of one learning rate changes some layers by a large share of themselves and others hardly: the ratios say by
    how much the rates should differ. They fall out of the initialisation alone.

    ======================  ================================================================================
    layer                   its number
    weight_norm             |w|, the root of the sum of squares
    gradient_norm           |g|, of the loss's gradient at the weights
    ratio                   |w| / (|g| + l2 |w|); inf where both are 0
    ======================  ================================================================================

    Parameters
    ----------
    network : Network with stored weights. x : (samples, widths[0]). labels : (samples,), ints.
    l2 : float >= 0. loss : "cross_entropy" or "squared_error".

    Source: You, Gitman and Ginsburg 2017 (arXiv 1708.03888), equation 6.

    >>> import numpy as np, winit
    >>> from winit.lab import Network, trust_ratios
    >>> network = Network([4, 9, 9, 3], "tanh", winit.lecun_normal(), output="identity", seed=0)
    >>> x = network.draw_input(12)
    >>> [round(ratio) for ratio in trust_ratios(network, x, np.arange(12) % 3).column("ratio")]
    [15, 8, 7]

    """
    check_stored(network)
    decay = check_not_negative(l2, "l2")
    gradients = _gradients(network, x, labels, loss)
    rows: dict[str, list[Any]] = {"layer": [], "weight_norm": [], "gradient_norm": [], "ratio": []}
    for layer, (weight, gradient) in enumerate(zip(network.weights, gradients, strict=True), 1):
        size, slope = math.sqrt(sum_of_squares(np.asarray(weight))), math.sqrt(sum_of_squares(gradient))
        below = slope + decay * size
        ratio = size / below if below else math.inf
        for name, value in zip(rows, (layer, size, slope, ratio), strict=True):
            rows[name].append(value)
    return Table(rows)


def trust_rates(network: Network, x: Any, labels: Any, trust: float, **options: Any) -> Rates:
    """Return trust times each layer's trust ratio at the start, as learning rates of weights and biases.

    Parameters
    ----------
    network, x, labels, options : of trust_ratios.
    trust : float > 0, the share of its own size by which a layer's weights move in the first step of gradient descent.

    Source: You, Gitman and Ginsburg 2017 (arXiv 1708.03888), whose ratios follow the weights;
    these are those of the first step.

    """
    share = check_learning_rate(trust)
    ratios = trust_ratios(network, x, labels, **options).column("ratio")
    for layer, ratio in enumerate(ratios, 1):
        if not 0 < ratio < math.inf:
            raise ValueError(f"layer {layer} has a trust ratio of {ratio}: its weights or their gradient are 0")
    rates = tuple(share * ratio for ratio in ratios)
    return Rates(rates, rates)


def _gradients(network: Network, x: Any, labels: Any, loss: str) -> list[np.ndarray]:
    check_one_of(loss, ("cross_entropy", "squared_error"), "loss")
    x = network.check_input(x)
    chosen = check_labels(labels, len(x), network.widths[-1])
    trace = network.forward(x)
    return network.backward(trace, loss_at(trace.outputs[-1], chosen, loss)[1]).weights


# ---- the coordinate check


def coordinate_check(
    make: Callable[[int], Any], widths: Iterable[int], x: Any, labels: Any, *, steps: int = 4, seeds: int = 1
) -> Table:
    """Follow the size of each layer's outputs over widths and the first steps of training: flat in width is right.

    In the standard parametrisation outputs after a step grow with width, so that no learning rate fits all widths. In
    the maximal update parametrisation neither grows nor vanishes.

    ======================  ================================================================================
    width, seed, step       step: how many were taken before
    layer                   its number, or the module's name in a torch model
    size                    mean of |output|, over all units and samples
    change                  mean of |output - output at step 0|
    ======================  ================================================================================

    Parameters
    ----------
    make : called with a width, or with a width and a seed where it takes two; returns a Network, which is not changed,
        and an optimiser; or a torch module, which is trained, and a torch optimiser.
    widths : ints.
    x : inputs: an array for a Network; what the module is called with for torch.
    labels : (samples,), ints in [0, classes). The loss is softmax cross-entropy.
    steps : int >= 1. seeds : int >= 1.

    Returns
    -------
    Table, a row for each width, seed, step and layer.

    Source: Yang et al. 2022 (arXiv 2203.03466), appendix D.1.

    >>> import numpy as np, winit
    >>> from winit.lab import Network, SGD, coordinate_check
    >>> def make(width):
    ...     return Network([4, width, 2], "relu", winit.he_normal(), output="identity"), SGD(0.1)
    >>> x = winit.draw(winit.normal(), (8, 4), seed=1)
    >>> len(coordinate_check(make, (8, 16), x, np.arange(8) % 2, steps=2))
    12

    """
    sizes = items_of(widths) if not isinstance(widths, (str, bytes)) else None
    if not sizes:
        raise ValueError(f"widths must be integers, one at least, not {shown(widths)}")
    sizes = [check_integer(width, "a width") for width in sizes]
    steps, seeds = check_integer(steps, "steps"), check_integer(seeds, "seeds")
    if not callable(make):
        raise TypeError(f"make must be a function of a width, not {shown(make)}")
    takes_seed = _takes_two(make)
    if seeds > 1 and not takes_seed:
        raise ValueError("make must take a width and a seed where there are several seeds")
    rows: dict[str, list[Any]] = {}
    for width in sizes:
        for seed in range(seeds):
            made: Any = make(*(width, seed)[: 1 + takes_seed])
            if not isinstance(made, tuple) or len(made) != 2:
                raise TypeError(f"make must return a model and an optimiser, not {shown(made)}")
            if not callable(getattr(made[1], "step", None)):
                raise TypeError(f"make must return a model and an optimiser with a step, not {shown(made[1])}")
            follow = _follow_network if isinstance(made[0], Network) else _follow_torch
            first: dict[Any, np.ndarray] = {}
            for step, outputs in enumerate(follow(*made, x, labels, steps)):
                for layer, output in outputs.items():
                    wide = output.astype(np.float64)
                    start = first.setdefault(layer, wide)
                    line = {
                        "width": width,
                        "seed": seed,
                        "step": step,
                        "layer": layer,
                        "size": float(np.abs(wide).mean()),
                        "change": float(np.abs(wide - start).mean()),
                    }
                    for name, value in line.items():
                        rows.setdefault(name, []).append(value)
    return Table(rows)


def _takes_two(make: Callable[..., Any]) -> bool:
    import inspect

    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # what is built in has no signature
        return False
    kinds = signature.parameters.values()
    two = sum(kind.default is kind.empty and kind.kind in (kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD)
              for kind in kinds) == 2  # fmt: skip
    try:
        signature.bind(*(1, 0)[: 1 + two])
    except TypeError:
        raise TypeError(f"make must take a width, or a width and a seed, and {shown(make)} does not") from None
    return two


def _follow_network(network: Network, optimiser: Any, x: Any, labels: Any, steps: int) -> Any:
    """Outputs of each layer before the first step and after each."""
    trained = check_stored(network).copy()
    given = trained.check_input(x)
    chosen = check_labels(labels, len(given), trained.widths[-1])
    with np.errstate(all="ignore"):
        for step in range(steps + 1):
            trace = trained.forward(given)
            yield dict(enumerate(trace.outputs, 1))
            if step < steps:
                optimiser.step(trained, trained.backward(trace, loss_at(trace.outputs[-1], chosen, "cross_entropy")[1]))


def _follow_torch(model: Any, optimiser: Any, x: Any, labels: Any, steps: int) -> Any:
    """Outputs of each module without modules of its own; of those called several times, the last."""
    try:
        import torch
    except ImportError:
        raise TypeError(f"make must return a winit.lab.Network or a torch module, not {shown(model)}") from None
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"make must return a winit.lab.Network or a torch module, not {shown(model)}")
    seen: dict[str, np.ndarray] = {}

    def record(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            tensor = first_floating(output)
            if tensor is not None:
                seen[name] = tensor.detach().float().cpu().numpy().copy()

        return hook

    handles = [
        module.register_forward_hook(record(name))
        for name, module in model.named_modules()
        if not any(True for _ in module.children())
    ]
    given, keywords = inputs_of(x)
    try:
        target = torch.as_tensor(labels).reshape(-1)
        for step in range(steps + 1):
            seen.clear()
            scores = first_floating(model(*given, **keywords))
            yield dict(seen)
            if step < steps:
                optimiser.zero_grad()
                loss = torch.nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]).float(), target)
                torch.autograd.backward([loss])
                optimiser.step()
    finally:
        for handle in handles:
            handle.remove()
