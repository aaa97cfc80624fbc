"""A scheme in a layout of its own, whatever layout the tensor is said to have."""

from __future__ import annotations

from typing import Any

from winit._core.laws import Law
from winit._core.layouts import Layout, check_layout
from winit._core.scheme import Scheme, check_scheme

__all__ = ["with_layout"]


class with_layout(Scheme):
    """Draw as another scheme does in a layout of its own, whatever the tensor's: for code ported from elsewhere.

    Parameters
    ----------
    scheme : a winit scheme. What looks at no layout, such as `ones` and `literal`, is drawn as it is, in any dtype that
        it has by itself.
    layout : "oi", "io" or winit.Axes.

    Raises
    ------
    TypeError, ValueError : not a scheme, not a layout; when drawn, what the scheme raises.

    >>> import winit
    >>> he = winit.with_layout(winit.he_normal(), "io")
    >>> he.moments((200, 10)).std, he.moments((200, 10), "oi").std
    (0.1, 0.1)

    """

    __slots__ = ("_called", "_small", "layout", "scheme")
    scheme: Scheme
    layout: Layout
    _called: str  # what messages call it: the function of another library's names that made it

    def __init__(self, scheme: Scheme, layout: Layout) -> None:
        check_scheme(scheme)
        check_layout(layout)
        self._set(scheme, layout)
        object.__setattr__(self, "_small", scheme._small)

    def law(self, shape: tuple[int, ...], layout: Any = "oi") -> Law:
        return self.scheme.law(shape, self.layout)
