"""What a scheme is: frozen, comparable, printable, and resolved by a global shape and layout to a law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from winit._core.laws import Law, Moments, Whole
from winit._core.records import Record
from winit._core.shapes import Layout, check_shape

if TYPE_CHECKING:
    import numpy as np

    from winit._core.drawing import Stream

__all__ = ["Scheme", "WholeScheme"]


class Scheme(Record):
    """Base of all schemes. A scheme is called as winit.draw is, without naming itself."""

    __slots__ = ()

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        """Resolve to the law of a tensor of this global shape and layout."""
        raise NotImplementedError

    def moments(self, shape: int | Sequence[int] = (), layout: Layout = "oi") -> Moments:
        """Return the law's mean, std, low and high in closed form.

        Parameters
        ----------
        shape : tuple of int. Global shape; schemes without fans do not look at it.
        layout : "oi", "io" or winit.Axes.

        >>> import winit
        >>> winit.xavier_uniform().moments((300, 300)).high
        0.1

        """
        return self.law(check_shape(shape), layout).moments()

    def __call__(self, shape: int | Sequence[int], **keywords: Any) -> Any:
        """Draw a new array: winit.draw(self, shape, ...)."""
        from winit._core.drawing import draw

        return draw(self, shape, **keywords)


class WholeScheme(Scheme):
    """Base of schemes whose tensors are made at once and then sliced: what one element is depends on others.

    A box of such a tensor costs what the tensor costs.
    """

    __slots__ = ()

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        """Raise for a shape or layout that the scheme does not fit."""
        raise NotImplementedError

    def values(self, stream: Stream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        """Make the tensor, in the law's arithmetic type; what is random comes from the stream."""
        raise NotImplementedError

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        """Mean, std, low and high over all elements of the tensor."""
        raise NotImplementedError

    def reach(self, shape: tuple[int, ...], layout: Layout) -> float:
        """What no element's magnitude exceeds."""
        return max(map(abs, self.whole_moments(shape, layout)[2:]))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        self.check(shape, layout)
        return Whole(self, shape, layout)
