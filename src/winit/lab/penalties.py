"""What is added to a loss to hold weights near where they are wanted: near a start, or near orthogonal."""

from __future__ import annotations

import math

import numpy as np

from winit._core.checks import check_integer, check_not_negative, items_of, shown
from winit._dense.products import multiply
from winit._dense.virtual import Virtual
from winit.lab.network import Gradients, Network, check_stored

__all__ = ["L2SP", "Orthogonality"]


class L2SP:
    """Pull parameters to where they started: strength / 2 |w - w0|^2, and new / 2 |w|^2 for layers without a start.

    Parameters
    ----------
    start : Network whose weights and biases are w0: a pretrained one, or the network at its own initialisation.
    strength : float >= 0, of layers that have a start. new : float >= 0, of the others.
    fresh : layers, from 1, that have none: such as the last one, where the classes are others.

    Source: Li, Grandvalet and Davoine 2018 (arXiv 1802.01483), equation 2.

    >>> import winit
    >>> from winit.lab import L2SP, Network
    >>> network = Network([4, 3, 2], "tanh", winit.lecun_normal(), seed=0)
    >>> pull = L2SP(network, 0.1)
    >>> moved = network.copy()
    >>> moved.biases[0] += 1
    >>> pull.value(network), round(pull.value(moved), 6)
    (0.0, 0.15)

    """

    def __init__(self, start: Network, strength: float, new: float = 0.0, fresh: tuple[int, ...] = ()) -> None:
        check_stored(start, "start")
        self.strength, self.new = check_not_negative(strength, "strength"), check_not_negative(new, "new")
        layers = items_of(fresh)
        if layers is None:
            raise TypeError(f"fresh must hold layers, such as (3,), not {shown(fresh)}")
        self.fresh = tuple(check_integer(layer, "a layer of fresh") for layer in layers)
        for layer in self.fresh:
            if layer > start.depth:
                raise ValueError(f"fresh must hold layers from 1 to {start.depth}, not {layer}")
        self._start = start.copy()

    def _differences(self, network: Network) -> list[tuple[float, np.ndarray, np.ndarray]]:
        """Of each layer the strength, and how far weights and biases are from what they are pulled to."""
        if check_stored(network).widths != self._start.widths:
            raise ValueError(f"the network has widths {network.widths}, and the start {self._start.widths}")
        found = []
        for layer in range(network.depth):
            weight, bias = network.weights[layer], network.biases[layer]
            own, own_bias = self._start.weights[layer], self._start.biases[layer]
            assert not isinstance(weight, Virtual)
            assert not isinstance(own, Virtual)
            if layer + 1 in self.fresh:
                found.append((self.new, weight, bias))
            else:
                found.append((self.strength, weight - own, bias - own_bias))
        return found

    def value(self, network: Network) -> float:
        """Return the penalty of a network."""
        return math.fsum(
            strength / 2 * (sum_of_squares(weight) + sum_of_squares(bias))
            for strength, weight, bias in self._differences(network)
        )

    def add_to(self, network: Network, gradients: Gradients) -> None:
        """Add its gradients to those of a loss, in place."""
        for layer, (strength, weight, bias) in enumerate(self._differences(network)):
            gradients.weights[layer] += weight.dtype.type(strength) * weight
            gradients.biases[layer] += bias.dtype.type(strength) * bias


class Orthogonality:
    """Pull weights towards orthogonal rows or columns, whichever are fewer: strength |G - I|^2, G = W W' or W' W.

    The gradient is 4 strength (G - I) W. |.|^2 is the sum of squares of all elements.

    Parameters
    ----------
    strength : float >= 0.

    Source: Bansal, Chen and Wang 2018 (arXiv 1810.09102), soft and double soft orthogonality.

    >>> import winit
    >>> from winit.lab import Network, Orthogonality
    >>> Orthogonality(0.1).value(Network([30, 20, 30], "tanh", winit.orthogonal(), seed=0)) < 1e-9
    True

    """

    def __init__(self, strength: float) -> None:
        self.strength = check_not_negative(strength, "strength")

    def value(self, network: Network) -> float:
        """Return the penalty of a network."""
        return self.strength * math.fsum(sum_of_squares(_apart(weight)[0]) for weight in _stored(network))

    def add_to(self, network: Network, gradients: Gradients) -> None:
        """Add its gradients to those of a loss, in place."""
        for weight, gradient in zip(_stored(network), gradients.weights, strict=True):
            apart, rows = _apart(weight)
            back = np.empty_like(weight)
            if rows:
                multiply(apart, weight, back)
            else:
                multiply(weight, apart, back)
            gradient += weight.dtype.type(4 * self.strength) * back


def _stored(network: Network) -> list[np.ndarray]:
    check_stored(network)
    return [weight for weight in network.weights if not isinstance(weight, Virtual)]


def _apart(weight: np.ndarray) -> tuple[np.ndarray, bool]:
    """W W' - I, and True; or W' W - I, and False: the smaller."""
    rows = weight.shape[0] <= weight.shape[1]
    size = min(weight.shape)
    gram = np.empty((size, size), weight.dtype)
    if rows:
        multiply(weight, weight.T, gram)
    else:
        multiply(weight.T, weight, gram)
    gram[np.diag_indices(size)] -= 1
    return gram, rows


def sum_of_squares(array: np.ndarray) -> float:
    """Sum of squares in float64, in NumPy's pairwise order, which is the same everywhere."""
    wide = array.astype(np.float64).ravel()
    return float((wide * wide).sum())
