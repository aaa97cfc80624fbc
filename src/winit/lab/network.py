"""Multi-layer networks on the dense pass: forwards, backwards, losses and the steps of training.

Every sum has an order of its own: products are dense_forward's and dense_backward's, what is left is elementwise or a
loop over classes, and exponentials are winit's own. So a run's bits depend on neither threads nor machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from winit._core.checks import (
    check_bool,
    check_callable,
    check_integer,
    check_number,
    check_one_of,
    check_threads,
    items_of,
    shown,
)
from winit._core.drawing import draw
from winit._core.dtypes import dtype_name
from winit._core.keys import stream_key
from winit._core.portable import exp_array, log_array
from winit._core.scheme import Scheme, check_scheme
from winit._dense.passes import Stats, Tape, dense_backward, dense_forward
from winit._dense.virtual import Virtual
from winit.activations import Activation
from winit.activations import activation as as_activation
from winit.schemes.constants import zeros

__all__ = [
    "Gradients",
    "Network",
    "Trace",
    "array_of",
    "check_network",
    "check_stored",
    "cross_entropy",
    "mean_squared_error",
]

EPSILON = 1e-5  # added to variances that are divided by
NORMS = "rms", "layer"


class Trace(NamedTuple):
    """What a forward pass leaves for the backward one.

    outputs : of each layer, after its activation and what is added to it; the last is the network's. inputs : what each
    layer's product read. tapes, stats : of each layer's dense pass. scales : of normalised inputs, one a sample.
    """

    outputs: list[np.ndarray]
    inputs: list[np.ndarray]
    tapes: list[Tape]
    stats: list[Stats | None]
    scales: list[np.ndarray | None]


class Gradients(NamedTuple):
    """Gradients of each layer's weights and biases, at each layer's output, and at the input."""

    weights: list[np.ndarray]
    biases: list[np.ndarray]
    outputs: list[np.ndarray]
    x: np.ndarray


class Network:
    """Make a network of dense layers: h_l = f(h_(l-1) W_l' + b_l), drawn by one scheme or one a layer.

    Layers count from 1. The weights of layer l are (widths[l], widths[l - 1]), layout "oi", and are drawn as the tensor
    "l.weight"; biases as "l.bias". A network's bits depend on its arguments alone.

    Parameters
    ----------
    widths : ints, at least two: units of the input and of each layer.
    activation : str or winit activation, or one a layer.
    scheme : scheme of the weights, or one a layer.
    bias : scheme of the biases; None for a network without.
    output : activation of the last layer, None for that of the others; "identity" where a loss takes scores.
    residual : bool. Add its input to what a layer of as many units as its input gives.
    norm : None, "rms" or "layer": divide what a layer reads by its root mean square, or first take away its mean.
    seed : int, 0 <= seed < 2^64.
    dtype : "float32" or "float64".
    virtual : bool. Never store the weights: draw them whenever they are multiplied. Such a network is not trained.
    threads : int or None, the processors this process may use.

    Raises
    ------
    TypeError, ValueError : what is not as above; a scheme that a layer's shape does not allow, with its layer.

    >>> import winit
    >>> from winit.lab import Network
    >>> network = Network([784, 256, 10], "tanh", winit.lecun_normal(), output="identity", seed=0)
    >>> network
    <Network 784-256-10, tanh, 203,530 parameters>
    >>> x = winit.draw(winit.normal(), (32, 784), seed=1, name="x")
    >>> network.forward(x).outputs[-1].shape
    (32, 10)

    """

    def __init__(
        self,
        widths: Iterable[int],
        activation: str | Activation | Sequence[str | Activation | None] | None,
        scheme: Scheme | Sequence[Scheme],
        *,
        bias: Scheme | None = None,
        output: str | Activation | None = None,
        residual: bool = False,
        norm: str | None = None,
        seed: int = 0,
        dtype: Any = "float32",
        virtual: bool = False,
        threads: int | None = None,
    ) -> None:
        self.widths = _check_widths(widths)
        depth = len(self.widths) - 1
        self.activations = [as_activation(each) for each in _a_layer(activation, depth, "activation")]
        if output is not None:
            self.activations[-1] = as_activation(output)
        self.schemes: list[Scheme] = _a_layer(scheme, depth, "scheme")
        for each in self.schemes:
            check_scheme(each)
        self.bias = zeros() if bias is None else bias
        check_scheme(self.bias, "bias")
        self.residual = check_bool(residual, "residual")
        self.norm = None if norm is None else check_one_of(norm, NORMS, "norm")
        self.dtype = dtype_name(dtype)
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be float32 or float64, not {shown(dtype)}")
        stream_key(seed)
        self.seed, self.virtual, self.threads = seed, check_bool(virtual, "virtual"), check_threads(threads)
        self.weights: list[np.ndarray | Virtual] = []
        self.biases: list[np.ndarray] = []
        for layer in range(1, depth + 1):
            shape = self.widths[layer], self.widths[layer - 1]
            try:
                self.weights.append(self._weight(layer, shape))
                self.biases.append(
                    draw(self.bias, shape[:1], seed=seed, name=f"{layer}.bias", dtype=self.dtype, threads=self.threads)
                )
            except (TypeError, ValueError) as error:
                raise type(error)(f"layer {layer}: {error}") from None

    def _weight(self, layer: int, shape: tuple[int, int]) -> np.ndarray | Virtual:
        scheme, name = self.schemes[layer - 1], f"{layer}.weight"
        if self.virtual:
            return Virtual(scheme, shape, seed=self.seed, name=name)
        return draw(scheme, shape, seed=self.seed, name=name, dtype=self.dtype, threads=self.threads)

    def copy(self) -> Network:
        """Return a network of the same weights and biases, which may change without this one's."""
        other = object.__new__(Network)
        vars(other).update(vars(self))
        other.weights = [weight if isinstance(weight, Virtual) else weight.copy() for weight in self.weights]
        other.biases = [bias.copy() for bias in self.biases]
        return other

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.weights)

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""
        return sum(outs * ins + outs for ins, outs in zip(self.widths, self.widths[1:], strict=False))

    def __repr__(self) -> str:
        names = list(dict.fromkeys(each.name for each in self.activations[:-1] or self.activations))
        widths = self.widths if len(self.widths) < 8 else [*self.widths[:3], "...", *self.widths[-2:]]
        return f"<Network {'-'.join(map(str, widths))}, {'/'.join(names)}, {self.parameters:,} parameters>"

    def draw_input(self, batch: int) -> np.ndarray:
        """Draw standard normal inputs from the network's own stream: (batch, widths[0])."""
        from winit.schemes.plain import normal

        return draw(normal(), (batch, self.widths[0]), seed=self.seed, name="input", dtype=self.dtype)

    def check_input(self, x: Any) -> np.ndarray:
        """Return a caller's inputs in the network's dtype; ValueError unless finite and (batch, widths[0])."""
        array = array_of(x, "x")
        if array.ndim != 2 or array.shape[1] != self.widths[0] or not array.shape[0]:
            raise ValueError(f"x must be of shape (batch, {self.widths[0]}), not {array.shape}")
        if array.dtype.kind not in "fiub":
            raise TypeError(f"x must be numbers, not {array.dtype}")
        with np.errstate(over="ignore"):
            out = np.require(array, self.dtype, ["C", "A"])  # what another process sent may lie anywhere in its buffer
        if not np.isfinite(out).all():
            if np.isfinite(array).all():
                raise ValueError(f"x must be within the range of {self.dtype}")
            raise ValueError("x must be finite: it holds NaN or infinity")
        return out

    def astype(self, dtype: Any) -> Network:
        """Return a network of the same stored weights and biases in another dtype."""
        other = self.copy()
        other.dtype = dtype_name(dtype)
        other.weights = [np.asarray(weight).astype(other.dtype) for weight in self.weights]
        other.biases = [bias.astype(other.dtype) for bias in self.biases]
        return other

    # ---- the passes

    def layer(self, layer: int, x: np.ndarray, activation: str | Activation | None = None) -> np.ndarray:
        """Run a batch through one layer; with "identity" for its activation, up to that, and without what it skips.

        Parameters
        ----------
        layer : int from 1. x : (batch, widths[layer - 1]), what the layer before gave. activation : None for its own.

        """
        if check_integer(layer, "layer") > self.depth:
            raise ValueError(f"layer must be at most {self.depth}, not {layer}")
        read, _ = self._normalised(x)
        f = self.activations[layer - 1] if activation is None else as_activation(activation)
        y, _ = dense_forward(
            read, self.weights[layer - 1], self.biases[layer - 1], f, layout="oi", threads=self.threads
        )
        return y + x if activation is None and self.residual and y.shape == x.shape else y

    def forward(
        self,
        x: np.ndarray,
        *,
        stats: bool = False,
        dropout: Sequence[np.ndarray | None] = (),
        watch: Callable[[int, np.ndarray], None] | None = None,
    ) -> Trace:
        """Run a batch through all layers.

        Parameters
        ----------
        x : (batch, widths[0]), as check_input returns it.
        stats : bool. Take the statistics of each layer's output while it is in the cache.
        dropout : for each layer what its output is multiplied with, or None.
        watch : called with each layer's number and output, as soon as that is there.

        """
        check_callable(watch, "watch")
        factors = self._check_dropout(dropout)
        trace = Trace([], [], [], [], [])
        held = x
        for layer, (weight, bias, f) in enumerate(zip(self.weights, self.biases, self.activations, strict=True)):
            read, scale = self._normalised(held)
            y, tape = dense_forward(read, weight, bias, f, layout="oi", stats=stats, threads=self.threads)
            if self.residual and y.shape == held.shape:
                y = y + held
            factor = factors[layer]
            if factor is not None:
                y = y * factor
            trace.outputs.append(y)
            trace.inputs.append(read)
            trace.tapes.append(tape)
            trace.stats.append(tape.stats)
            trace.scales.append(scale)
            if watch is not None:
                watch(layer + 1, y)
            held = y
        return trace

    def backward(self, trace: Trace, grad: np.ndarray, *, dropout: Sequence[Any] = ()) -> Gradients:
        """Run a gradient at the network's output back through all layers.

        Parameters
        ----------
        trace : of forward.
        grad : of the output's shape and dtype.
        dropout : as of forward.

        """
        if not isinstance(trace, Trace) or len(trace.tapes) != self.depth:
            raise TypeError(f"trace must be what forward returned of this network, not {shown(trace)}")
        steps = list(self._back(trace, grad, ("x", "weight", "bias"), dropout))[::-1]
        outputs, dxs, weights, biases = map(list, zip(*steps, strict=True))
        return Gradients(weights, biases, outputs, dxs[0])

    def watch_gradients(self, trace: Trace, grad: np.ndarray, watch: Callable[[int, np.ndarray], None]) -> None:
        """Run a gradient back without those of weights and biases; watch is given each layer's number and gradient.

        The gradient is the one at the layer's output, the last layer's first. None is kept.
        """
        for layer, (own, _, _, _) in zip(range(self.depth, 0, -1), self._back(trace, grad, ("x",), ()), strict=True):
            watch(layer, own)

    def _back(self, trace: Trace, grad: np.ndarray, want: Sequence[str], dropout: Sequence[Any]) -> Iterator[Any]:
        """Give each layer's gradients from the last to the first: at its output, at its input, of weight and bias."""
        factors = self._check_dropout(dropout)
        for layer in reversed(range(self.depth)):
            own, factor = grad, factors[layer]
            if factor is not None:
                grad = grad * factor
            dx, dweight, dbias = dense_backward(grad, trace.tapes[layer], want=want, threads=self.threads)
            assert dx is not None
            back = self._normalised_back(dx, trace.inputs[layer], trace.scales[layer])
            if self.residual and grad.shape == back.shape:
                back = back + grad
            yield own, back, dweight, dbias
            grad = back

    def _check_dropout(self, dropout: Any) -> Sequence[np.ndarray | None]:
        """Return what is multiplied with the outputs of each layer; () is nothing for all."""
        if isinstance(dropout, (list, tuple)) and not dropout:
            return (None,) * self.depth
        held = isinstance(dropout, (list, tuple)) and all(
            each is None or (isinstance(each, np.ndarray) and each.dtype.kind in "fb") for each in dropout
        )
        if not held or len(dropout) != self.depth:
            raise TypeError(
                f"dropout must be an array or None for each of the {self.depth} layers, not {shown(dropout)}"
            )
        return tuple(dropout)

    def _row_means(self, x: np.ndarray) -> np.ndarray:
        """Means of rows, as a product with ones: in the dense pass's order, in float64."""
        wide = np.ascontiguousarray(x, np.float64)
        sums, _ = dense_forward(wide, np.ones((1, x.shape[1])), None, "identity", layout="oi", threads=self.threads)
        return sums / x.shape[1]

    def _normalised(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if self.norm is None:
            return x, None
        wide = x.astype(np.float64)
        if self.norm == "layer":
            wide = wide - self._row_means(wide)
        scale = 1 / np.sqrt(self._row_means(wide * wide) + EPSILON)
        return (wide * scale).astype(self.dtype), scale

    def _normalised_back(self, grad: np.ndarray, read: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
        if scale is None:
            return grad
        wide, unit = grad.astype(np.float64), read.astype(np.float64)
        along = wide - unit * self._row_means(wide * unit)
        if self.norm == "layer":
            along = along - self._row_means(wide)
        return (along * scale).astype(self.dtype)


# ---- losses


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Compute the mean softmax cross-entropy and its gradient at the scores.

    loss = -mean log p[label], p = softmax(scores); gradient = (p - onehot) / batch.

    Parameters
    ----------
    scores : (batch, classes), float. labels : (batch,), int in [0, classes).

    Returns
    -------
    (float, array of the scores' shape and dtype) : inf or NaN scores give NaN.

    >>> import numpy as np
    >>> loss, grad = cross_entropy(np.zeros((1, 2)), np.array([0]))
    >>> round(loss, 4), grad.tolist()
    (0.6931, [[-0.5, 0.5]])

    """
    batch, classes = scores.shape
    wide = scores.astype(np.float64)
    # A column after the other: an order that no library decides.
    shifted = wide - wide.max(axis=1, keepdims=True)
    e = exp_array(np.maximum(shifted, -700.0))
    total = np.zeros(batch)
    for column in range(classes):
        total = total + e[:, column]
    rows = np.arange(batch)
    losses = log_array(np.where(np.isfinite(total), total, 1.0)) - shifted[rows, labels]
    p = e / total[:, None]
    p[rows, labels] -= 1
    return _mean(losses), (p / batch).astype(scores.dtype)


def mean_squared_error(y: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Compute the mean of (y - target)^2 / 2 summed over units, and its gradient.

    Parameters
    ----------
    y, target : (batch, units), float.

    Returns
    -------
    (float, array of y's shape and dtype).

    >>> import numpy as np
    >>> loss, grad = mean_squared_error(np.ones((2, 1)), np.zeros((2, 1)))
    >>> loss, grad.tolist()
    (0.5, [[0.5], [0.5]])

    """
    batch = y.shape[0]
    difference = y.astype(np.float64) - target
    return _mean((difference * difference).ravel()) * y.shape[1] / 2, (difference / batch).astype(y.dtype)


def _mean(values: np.ndarray) -> float:
    """Mean of a vector, each number added to the sum of those before it."""
    return float(np.add.accumulate(values)[-1] / len(values)) if len(values) else float("nan")


# ---- checks


def array_of(data: Any, what: str) -> np.ndarray:
    """Return a caller's data as an array; lists, frames and tensors are what NumPy makes of them."""
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{what} must be an array without a mask: its masked values are no numbers")
    try:
        return np.asarray(data)
    except Exception as error:  # ragged lists; tensors on a device, with a gradient, of a dtype that NumPy has not
        reason = " ".join(str(error).split())
        raise TypeError(
            f"{what} must be an array, and NumPy makes none of {shown(data, 100)}: {reason[:250]}"
        ) from None


def _check_widths(widths: Any) -> list[int]:
    items = None if isinstance(widths, (str, bytes)) else items_of(widths)
    if items is None:
        raise TypeError(f"widths must be integers, not {shown(widths)}")
    if len(items) < 2:
        raise ValueError(f"widths must be at least two, of the input and of a layer, not {shown(items)}")
    return [check_integer(width, "a width") for width in items]


def _a_layer(given: Any, depth: int, what: str) -> list[Any]:
    """Return what was given for all layers, or one for each, as one for each."""
    if isinstance(given, (list, tuple)):
        if len(given) != depth:
            raise ValueError(f"{what} must be one, or one for each of the {depth} layers, not {len(given)}")
        return list(given)
    return [given] * depth


def check_network(network: Any, what: str = "network") -> Network:
    """Return a network, whose weights may be virtual."""
    if not isinstance(network, Network):
        raise TypeError(f"{what} must be a winit.lab.Network, not {type(network).__name__}")
    return network


def check_stored(network: Any, what: str = "network") -> Network:
    """Return a network with stored weights."""
    found = check_network(network, what)
    if found.virtual:
        raise ValueError(f"{what} must have stored weights: those of a virtual one cannot change")
    return found


def check_learning_rate(rate: Any) -> float:
    """Return a learning rate: a positive number."""
    value = check_number(rate, "learning_rate")
    if value <= 0:
        raise ValueError(f"learning_rate must be positive, not {value}")
    return value
