"""Steps of training a network: SGD with momentum, Adam, penalties, dropout; every number the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from winit._core.checks import (
    check_integer,
    check_not_negative,
    check_number,
    check_one_of,
    check_positive,
    items_of,
    shown,
)
from winit._core.drawing import draw
from winit._dense.virtual import Virtual
from winit.lab.network import (
    Gradients,
    Network,
    check_learning_rate,
    check_network,
    check_stored,
    cross_entropy,
    mean_squared_error,
)
from winit.lab.units import check_labels
from winit.schemes.plain import uniform

__all__ = ["SGD", "Adam", "Curve", "Optimiser", "Penalty", "Rates", "accuracy", "loss_at", "train"]


class Optimiser(Protocol):
    """Changes weights and biases by their gradients, in place."""

    def step(self, network: Network, gradients: Gradients) -> None:
        """Take one step."""
        ...


class Penalty(Protocol):
    """What is added to a loss for the parameters alone."""

    def value(self, network: Network) -> float:
        """Return what is added."""
        ...

    def add_to(self, network: Network, gradients: Gradients) -> None:
        """Add its gradients, in place."""
        ...


class Rates(NamedTuple):
    """Learning rates of each layer's weights and biases."""

    weights: tuple[float, ...]
    biases: tuple[float, ...]


def _check_rates(given: float | Rates) -> float | Rates:
    if not isinstance(given, Rates):
        return check_learning_rate(given)
    found = []
    for rates, whose in zip(given, ("weights", "biases"), strict=True):
        listed = None if isinstance(rates, (str, bytes)) else items_of(rates)
        if listed is None:
            raise TypeError(f"learning_rate must have a rate for the {whose} of each layer, not {shown(rates)}")
        found.append(tuple(check_learning_rate(rate) for rate in listed))
    return Rates(*found)


class _Parameter(NamedTuple):
    """Weights or biases of a layer, in place, with their gradient and learning rate."""

    values: np.ndarray
    gradient: np.ndarray
    is_weight: bool
    rate: float


def _parameters(network: Network, gradients: Gradients, rates: float | Rates) -> list[_Parameter]:
    """All of a network's weights, and then all biases."""
    if not isinstance(rates, Rates):
        rates = Rates((rates,) * network.depth, (rates,) * network.depth)
    if not len(rates.weights) == len(rates.biases) == network.depth:
        raise ValueError(
            f"learning_rate must be one, or one for the weights and biases of each of the {network.depth} layers, "
            f"not {len(rates.weights)} and {len(rates.biases)}"
        )
    found = []
    for weight, own, rate in zip(network.weights, gradients.weights, rates.weights, strict=True):
        assert not isinstance(weight, Virtual)
        found.append(_Parameter(weight, own, True, rate))
    for bias, own, rate in zip(network.biases, gradients.biases, rates.biases, strict=True):
        found.append(_Parameter(bias, own, False, rate))
    return found


def _check_kept(kept: Sequence[np.ndarray], parameters: Sequence[_Parameter]) -> None:
    """Raise where an optimiser that has taken steps of one network is given another."""
    if [each.shape for each in kept] != [each.values.shape for each in parameters]:
        raise ValueError("network must be the one of the optimiser's first step, whose moments it keeps: make another")


class SGD:
    """Gradient descent with momentum and L2: v = momentum v + g + l2 w, w = w - learning_rate v.

    Parameters
    ----------
    learning_rate : float > 0, or Rates: one for each layer's weights and biases. momentum : float in [0, 1).
    l2 : float >= 0, of weights and not of biases.

    Source: Polyak 1964; torch.optim.SGD.

    """

    def __init__(self, learning_rate: float | Rates, momentum: float = 0.0, l2: float = 0.0) -> None:
        self.learning_rate = _check_rates(learning_rate)
        self.momentum = check_share(momentum, "momentum")
        self.l2 = check_not_negative(l2, "l2")
        self._velocity: list[np.ndarray] = []

    def step(self, network: Network, gradients: Gradients) -> None:
        """Take one step."""
        parameters = _parameters(network, gradients, self.learning_rate)
        if not self._velocity:
            self._velocity = [np.zeros_like(parameter.values) for parameter in parameters]
        _check_kept(self._velocity, parameters)
        for velocity, (values, gradient, is_weight, rate) in zip(self._velocity, parameters, strict=True):
            kind = values.dtype.type
            velocity *= kind(self.momentum)
            velocity += gradient
            if is_weight and self.l2:
                velocity += kind(self.l2) * values
            values -= kind(rate) * velocity


class Adam:
    """Adam: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, w = w - learning_rate m' / (sqrt(v') + eps).

    m' = m / (1 - b1^t) and v' = v / (1 - b2^t) make up for the zeros that both began with.

    Parameters
    ----------
    learning_rate : float > 0, or Rates: one for each layer's weights and biases. betas : two floats in [0, 1).
    eps : float > 0. l2 : float >= 0, added to the gradients of weights.

    Source: Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1; torch.optim.Adam.

    """

    def __init__(
        self,
        learning_rate: float | Rates = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        l2: float = 0.0,
    ) -> None:
        self.learning_rate = _check_rates(learning_rate)
        two = None if isinstance(betas, (str, bytes)) else items_of(betas)
        if two is None or len(two) != 2:
            raise TypeError(f"betas must be two numbers, not {shown(betas)}")
        self.betas = check_share(two[0], "betas[0]"), check_share(two[1], "betas[1]")
        self.eps, self.l2 = check_positive(eps, "eps"), check_not_negative(l2, "l2")
        self._moments: list[tuple[np.ndarray, np.ndarray]] = []
        self._powers = [1.0, 1.0]

    def step(self, network: Network, gradients: Gradients) -> None:
        """Take one step."""
        parameters = _parameters(network, gradients, self.learning_rate)
        if not self._moments:
            self._moments = [(np.zeros(p.values.shape), np.zeros(p.values.shape)) for p in parameters]
        _check_kept([first for first, _ in self._moments], parameters)
        # Powers by products: the pow of a libm may differ in the last bit from another's.
        self._powers = [power * beta for power, beta in zip(self._powers, self.betas, strict=True)]
        first, second = self.betas
        for (m, v), (values, gradient, is_weight, rate) in zip(self._moments, parameters, strict=True):
            g = gradient.astype(np.float64)
            if is_weight and self.l2:
                g = g + self.l2 * values
            m *= first
            m += (1 - first) * g
            v *= second
            v += (1 - second) * (g * g)
            update = (m / (1 - self._powers[0])) / (np.sqrt(v / (1 - self._powers[1])) + self.eps)
            values -= (rate * update).astype(values.dtype)


class Curve(NamedTuple):
    """What training shows.

    losses : of each step's batch. diverged : whether it stopped at a loss that is not finite.
    """

    losses: list[float]
    diverged: bool


def train(
    network: Network,
    x: Any,
    labels: Any,
    optimiser: Optimiser,
    *,
    steps: int,
    batch: int = 64,
    loss: str = "cross_entropy",
    dropout: float = 0.0,
    penalty: Penalty | None = None,
) -> Curve:
    """Train a network in place, on batches that are drawn from its own stream.

    Parameters
    ----------
    network : Network with stored weights; its last activation is "identity" for cross-entropy.
    x : (samples, widths[0]), finite. labels : (samples,), ints in [0, widths[-1]).
    optimiser : SGD or Adam, or another with step(network, gradients).
    steps : int >= 0. batch : int, samples a step, at most all; each epoch takes them in an order of its own.
    loss : "cross_entropy" or "squared_error", to 1 at the label and 0 elsewhere.
    dropout : float in [0, 1). Share of the units of hidden layers that a step leaves out; the others are scaled up.
    penalty : L2SP, Orthogonality, or another with value(network) and add_to(network, gradients); added to the loss.

    Returns
    -------
    Curve. Losses are without the penalty. A loss that is not finite ends training.

    Raises
    ------
    TypeError, ValueError : what is not as above; a virtual network.

    >>> import numpy as np, winit
    >>> from winit.lab import Network, SGD, train
    >>> network = Network([2, 8, 2], "tanh", winit.xavier_normal(), output="identity", seed=0)
    >>> x = network.draw_input(200)
    >>> curve = train(network, x, (x[:, 0] * x[:, 1] > 0).astype(int), SGD(0.5, momentum=0.9), steps=300)
    >>> curve.losses[-1] < 0.2 < curve.losses[0]
    True

    """
    x = check_stored(network).check_input(x)
    chosen = check_labels(labels, len(x), network.widths[-1])
    steps, batch = check_integer(steps, "steps", 0), min(check_integer(batch, "batch"), len(x))
    check_one_of(loss, ("cross_entropy", "squared_error"), "loss")
    share = check_share(dropout, "dropout")
    if not callable(getattr(optimiser, "step", None)):
        raise TypeError(f"optimiser must be SGD, Adam or another with a step, not {shown(optimiser)}")
    if penalty is not None and not callable(getattr(penalty, "add_to", None)):
        raise TypeError(f"penalty must be L2SP, Orthogonality or another with add_to, not {shown(penalty)}")
    losses: list[float] = []
    with np.errstate(all="ignore"):
        for step in range(steps):
            picked = _picked(network, len(x), batch, step)
            masks = _masks(network, len(picked), share, step)
            trace = network.forward(x[picked], dropout=masks)
            found, gradient = loss_at(trace.outputs[-1], chosen[picked], loss)
            losses.append(found)
            if not np.isfinite(found):
                return Curve(losses, True)
            gradients = network.backward(trace, gradient, dropout=masks)
            if penalty is not None:
                penalty.add_to(network, gradients)
            optimiser.step(network, gradients)
    return Curve(losses, False)


def accuracy(network: Network, x: Any, labels: Any) -> float:
    """Return the share of samples whose largest output is at their label; NaN where an output is not finite.

    Parameters
    ----------
    x : (samples, widths[0]), finite. labels : (samples,), ints in [0, widths[-1]).

    """
    x = check_network(network).check_input(x)
    chosen = check_labels(labels, len(x), network.widths[-1])
    with np.errstate(all="ignore"):
        outputs = network.forward(x).outputs[-1]
    if not np.isfinite(outputs).all():  # argmax would call class 0 what is nothing
        return float("nan")
    return float((outputs.argmax(axis=1) == chosen).mean())


def loss_at(y: np.ndarray, labels: np.ndarray, loss: str) -> tuple[float, np.ndarray]:
    """Return the loss of outputs and its gradient there."""
    if loss == "cross_entropy":
        return cross_entropy(y, labels)
    target = np.zeros(y.shape)
    target[np.arange(len(y)), labels] = 1
    return mean_squared_error(y, target)


def _picked(network: Network, samples: int, batch: int, step: int) -> np.ndarray:
    """The samples of one step: each epoch is a permutation, by the order of uniform numbers of the network's stream."""
    each = max(samples // batch, 1)
    epoch, place = divmod(step, each)
    keys = draw(uniform(), samples, seed=network.seed, name=f"epoch {epoch}", dtype="float64")
    order = np.argsort(keys, kind="stable")
    return order[place * batch : (place + 1) * batch]


def _masks(network: Network, count: int, share: float, step: int) -> Sequence[np.ndarray | None]:
    """What the outputs of each hidden layer are multiplied with; none of the last."""
    if share == 0:
        return ()
    kept = []
    for layer, width in enumerate(network.widths[1:-1], 1):
        numbers = draw(
            uniform(), (count, width), seed=network.seed, name=f"dropout {layer} {step}", dtype=network.dtype
        )
        kept.append(np.where(numbers < share, 0, 1 / (1 - share)).astype(network.dtype))
    return [*kept, None]


def check_share(value: Any, what: str) -> float:
    """Return a share: a number in [0, 1)."""
    number = check_number(value, what)
    if not 0 <= number < 1:
        raise ValueError(f"{what} must be in [0, 1), not {number}")
    return number
