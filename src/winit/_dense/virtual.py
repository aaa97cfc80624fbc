"""Weights that are never stored: drawn while they are multiplied."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from winit._core.checks import shown
from winit._core.drawing import draw
from winit._core.keys import stream_key
from winit._core.laws import INDEPENDENT, Literal
from winit._core.layouts import Layout
from winit._core.records import Record
from winit._core.scheme import Scheme, check_scheme
from winit._core.shapes import check_shape

__all__ = ["LAYOUTS", "Virtual", "check_dense_layout"]

LAYOUTS = ("oi", "io")


def check_dense_layout(layout: Any) -> None:
    """Raise unless a layout is one of a dense layer's."""
    if not isinstance(layout, str):
        raise TypeError(f"layout of a dense layer must be 'oi' or 'io', not {type(layout).__name__}")
    if layout not in LAYOUTS:
        raise ValueError(f"layout of a dense layer must be 'oi' or 'io', not {shown(layout)}")


class Virtual(Record):
    """Weights that are never stored: drawn while they are multiplied, forwards and backwards.

    The product is the one with `winit.draw(scheme, shape, seed=seed, name=name, layout=layout)`, to the bit.

    Parameters
    ----------
    scheme : a scheme whose elements are independent: not literal.
    shape : tuple of two int, global; (out, in) in layout "oi", (in, out) in "io".
    seed, name, layout : as in winit.draw.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value.

    >>> import numpy as np, winit
    >>> w = winit.Virtual(winit.he_normal(), (256, 784), seed=0, name="fc1.weight")
    >>> x = np.ones((8, 784), np.float32)
    >>> y, _ = winit.dense_forward(x, w, activation="relu")
    >>> bool((y == winit.dense_forward(x, w.draw(), activation="relu")[0]).all())
    True

    """

    __slots__ = ("scheme", "shape", "seed", "name", "layout")
    scheme: Scheme
    shape: tuple[int, ...]
    seed: int
    name: str
    layout: Layout

    def __init__(
        self, scheme: Scheme, shape: Sequence[int], *, seed: int, name: str = "", layout: Layout = "oi"
    ) -> None:
        check_scheme(scheme)
        shape = check_shape(shape)
        if len(shape) != 2:
            raise ValueError(f"Virtual weights have 2 axes, not shape {shape}")
        check_dense_layout(layout)
        stream_key(seed, name)
        law = scheme.law(shape, layout)
        if isinstance(law, Literal):
            raise TypeError("Virtual weights are drawn, and literal(...) is stored already: multiply by the array")
        if not isinstance(law, INDEPENDENT):
            raise TypeError(f"Virtual weights have independent elements, and those of {scheme!r} are not")
        self._set(scheme, shape, operator.index(seed), name, layout)

    def draw(self, dtype: Any = "float32", threads: int | None = None) -> np.ndarray:
        """Return the weights as an array."""
        return draw(
            self.scheme,
            self.shape,
            seed=self.seed,
            name=self.name,
            dtype=dtype,
            layout=self.layout,
            threads=threads,
        )
