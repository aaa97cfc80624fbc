"""A scheme in a layout of its own, whatever layout the tensor is said to have."""

from __future__ import annotations

from typing import Any

from winit._core.laws import Law
from winit._core.shapes import Layout, check_layout
from winit.schemes.base import Scheme
from winit.schemes.constants import literal

__all__ = ["with_layout"]


class with_layout(Scheme):
    """Draw as another scheme does in a layout of its own, whatever the tensor's: for code ported from elsewhere.

    Parameters
    ----------
    scheme : a winit scheme.
    layout : "oi", "io" or winit.Axes.

    Raises
    ------
    TypeError, ValueError : not a scheme, a literal array, not a layout; when drawn, what the scheme raises.

    >>> import winit
    >>> he = winit.with_layout(winit.he_normal(), "io")
    >>> he.moments((200, 10)).std, he.moments((200, 10), "oi").std
    (0.1, 0.1)

    """

    __slots__ = ("layout", "scheme")
    scheme: Scheme
    layout: Layout

    def __init__(self, scheme: Scheme, layout: Layout) -> None:
        if not isinstance(scheme, Scheme):
            raise TypeError(f"scheme must be a winit scheme, not {scheme!r}")
        if isinstance(scheme, literal):
            raise TypeError("scheme must be one with a law, and a literal array has none")
        if not isinstance(layout, str) or layout not in ("oi", "io"):
            check_layout(layout)
        self._set(scheme, layout)

    def law(self, shape: tuple[int, ...], layout: Any = "oi") -> Law:
        return self.scheme.law(shape, self.layout)
