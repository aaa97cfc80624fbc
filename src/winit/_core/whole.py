"""Laws of tensors that no kernel draws: those made at once, and those that are a formula of the index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from winit._core.bounds import Bound, Computed, Destination, Nothing, Whole
from winit._core.dtypes import LARGEST, empty
from winit._core.laws import Law, Moments
from winit._core.records import Record
from winit._core.running import run_bounds
from winit._core.shapes import Shape, check_box, locate

if TYPE_CHECKING:
    from winit._core.layouts import Layout

__all__ = ["Formula", "TensorStream", "WholeTensor"]


class TensorStream:
    """The stream of one tensor, in the arithmetic type of its law: what the maker of a whole tensor draws from.

    offset: the element from which on its draws count, where the maker makes a part of the tensor.
    """

    def __init__(self, key: tuple[int, int], dtype: str, threads: int | None, offset: int = 0) -> None:
        self.key, self.threads, self.offset = key, threads, offset
        self.dtype = "float64" if dtype == "float64" else "float32"

    def draw(self, law: Law, shape: Shape, box: Any = None) -> np.ndarray:
        """Draw a law as winit.draw does, under the tensor's own key."""
        checked = check_box(shape, box)
        out = empty(locate(shape, checked)[0], np.dtype(self.dtype))
        run_bounds([law.bind(Destination(out, self.dtype, self.key, shape, checked, None, self.offset))], self.threads)
        return out


class Maker(Protocol):
    """What makes such a tensor: a scheme."""

    def values(self, stream: TensorStream, shape: Shape, layout: Layout) -> np.ndarray:
        """Make the tensor, in the law's arithmetic type."""
        ...

    def write(
        self,
        to: Destination,
        out: np.ndarray,
        box: tuple[slice, ...],
        stream: TensorStream,
        shape: Shape,
        layout: Layout,
    ) -> None:
        """Store a box of a tensor whose elements are a formula of their index, in a part of a destination."""
        ...

    def reach(self, shape: Shape, layout: Layout) -> float:
        """What no element's magnitude exceeds."""
        ...

    def whole_moments(self, shape: Shape, layout: Layout) -> Moments:
        """Mean, std, low and high over all elements of the tensor."""
        ...


class _Made(Record):
    """A tensor that a scheme, `maker`, makes for a shape and layout."""

    __slots__ = ("layout", "maker", "shape")
    maker: Any
    shape: tuple[int, ...]
    layout: Any
    any_dtype = False

    def __init__(self, maker: Any, shape: tuple[int, ...], layout: Any) -> None:
        self._set(maker, shape, layout)

    def params(self, dtype: str) -> tuple[float, ...]:
        """No numbers: the maker has its own."""
        reach = self.maker.reach(self.shape, self.layout)
        if not reach <= LARGEST[dtype]:
            raise ValueError(f"{self.maker!r} reaches {reach:.6g}, beyond the range of {dtype} (±{LARGEST[dtype]:.6g})")
        return ()

    def moments(self) -> Moments:
        found: Moments = self.maker.whole_moments(self.shape, self.layout)
        return found


class WholeTensor(_Made):
    """A tensor that is made at once and then sliced: what one element is depends on others."""

    __slots__ = ()

    def bind(self, to: Destination) -> Bound:
        if to.out.size == 0:
            return Nothing()
        return Whole(
            to,
            lambda threads: self.maker.values(TensorStream(to.key, to.dtype, threads), self.shape, self.layout),
        )


class Formula(_Made):
    """A tensor each of whose elements is a closed form of its index: a box of it costs what the box costs."""

    __slots__ = ()

    def bind(self, to: Destination) -> Bound:
        if to.out.size == 0:
            return Nothing()
        stream = TensorStream(to.key, to.dtype, 1)

        def write(out: np.ndarray, box: tuple[slice, ...]) -> None:
            self.maker.write(to, out, box, stream, self.shape, self.layout)

        return Computed(to, write)
