"""Recurrent networks: the identity of a ReLU network's state, and the biases of an LSTM's gates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from winit._core.bounds import Destination, store
from winit._core.checks import check_integer, check_number
from winit._core.laws import Moments, Uniform
from winit._core.layouts import Layout
from winit._core.portable import log_array
from winit.schemes.base import Entries, FormulaScheme, PlacedScheme, WholeScheme, diagonal_in, matrix_axes

if TYPE_CHECKING:
    from winit._core.whole import TensorStream

__all__ = ["chrono_bias", "irnn", "lstm_bias"]

UNIFORM = Uniform(0.0, 1.0)


def _gates(scheme: WholeScheme, shape: tuple[int, ...]) -> int:
    """Tell the units of a bias of four gates."""
    if len(shape) != 1 or shape[0] % 4:
        raise ValueError(
            f"{type(scheme).__name__} fills the bias of an LSTM's four gates, (4 units,), not shape {shape}"
        )
    return shape[0] // 4


class irnn(PlacedScheme):
    """Fill the recurrent matrix of a ReLU network with scale times the identity, so that its state is kept.

    Parameters
    ----------
    scale : float. 1 as published; 0.01 for short memories.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape that is no square.

    Source: Le, Jaitly & Hinton 2015 (arXiv 1504.00941), section 3; its biases are 0.

    >>> import winit
    >>> winit.draw(winit.irnn(0.5), (2, 2), seed=0).tolist()
    [[0.5, 0.0], [0.0, 0.5]]

    """

    __slots__ = ("scale",)
    scale: float

    def __init__(self, scale: float = 1.0) -> None:
        self._set(check_number(scale, "scale"))

    def entries(self, box: tuple[slice, ...], shape: tuple[int, ...], layout: Layout) -> Entries:
        matrix_axes(self, shape, layout)
        if shape[0] != shape[1]:
            raise ValueError(f"irnn fills square matrices, not shape {shape}")
        return Entries(diagonal_in(box), self.scale)

    def placed(self, shape: tuple[int, ...], layout: Layout) -> tuple[float, int]:
        return self.scale, shape[0]


class lstm_bias(PlacedScheme):
    """Fill the bias of an LSTM with 0 but for its forget gates, which start open.

    Gates lie in the order input, forget, cell, output: torch's, Keras's and Flax's. torch adds two biases, bias_ih and
    bias_hh: give this to one of them, zeros to the other.

    Parameters
    ----------
    forget : float. The forget gates' bias.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape other than (4 units,).

    Source: Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015; keras.layers.LSTM, unit_forget_bias.

    >>> import winit
    >>> winit.draw(winit.lstm_bias(), 8, seed=0).tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]

    """

    __slots__ = ("forget",)
    forget: float

    def __init__(self, forget: float = 1.0) -> None:
        self._set(check_number(forget, "forget"))

    def entries(self, box: tuple[slice, ...], shape: tuple[int, ...], layout: Layout) -> Entries:
        units = _gates(self, shape)
        (part,) = box
        return Entries((np.arange(max(units, part.start), min(2 * units, part.stop)),), self.forget)

    def placed(self, shape: tuple[int, ...], layout: Layout) -> tuple[float, int]:
        return self.forget, _gates(self, shape)


class chrono_bias(FormulaScheme):
    """Draw the bias of an LSTM that is to remember for up to max_steps steps.

    Forget gates log u, u from U(1, max_steps - 1); input gates the negative of the same unit's forget gate; cell and
    output 0. Gates lie in the order input, forget, cell, output.

    Parameters
    ----------
    max_steps : int > 2. The longest dependency expected, in steps.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape other than (4 units,).

    Source: Tallec & Ollivier 2018, "Can recurrent neural networks warp time?" (arXiv 1804.11188).

    >>> import winit
    >>> b = winit.draw(winit.chrono_bias(100), 8, seed=0)
    >>> bool((b[:2] == -b[2:4]).all() and (b[2:4] >= 0).all()), b[4:].tolist()
    (True, [0.0, 0.0, 0.0, 0.0])

    """

    __slots__ = ("max_steps",)
    max_steps: int

    def __init__(self, max_steps: int) -> None:
        self._set(check_integer(max_steps, "max_steps", 3))

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        _gates(self, shape)

    def write(
        self,
        to: Destination,
        out: np.ndarray,
        box: tuple[slice, ...],
        stream: TensorStream,
        shape: tuple[int, ...],
        layout: Layout,
    ) -> None:
        units = _gates(self, shape)
        (part,) = box
        made = np.zeros(out.shape, stream.dtype)
        for first, sign in ((0, -1.0), (units, 1.0)):
            lo, hi = max(part.start, first), min(part.stop, first + units)
            if lo < hi:
                u = stream.draw(UNIFORM, (units,), range(lo - first, hi - first)).astype(np.float64)
                made[lo - part.start : hi - part.start] = sign * log_array(1 + (self.max_steps - 2) * u)
        store(to, out, ..., made)

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        end = self.max_steps - 1
        far = math.log(end)
        # E log^2 u, u uniform on (1, end), over the half of the gates that is not 0
        square = (end * (far * far - 2 * far + 2) - 2) / (end - 1)
        return Moments(0.0, math.sqrt(square / 2), -far, far)
