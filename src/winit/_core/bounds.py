"""Destinations and what a law makes of them: something with a size whose ranges fill the destination's elements.

A law is bound once (`law.bind(destination)`), and its ranges run in any order, in any threads. Most laws are bound to a
kernel of the engine in use, whose Fill is a Bound; the classes here are those that need no kernel of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from winit import _kernels
from winit._core.dtypes import WORDS, as_words
from winit._core.shapes import Shape, boxes_of, locate

if TYPE_CHECKING:
    from winit._core.laws import Law

__all__ = ["Bound", "Chained", "Computed", "Destination", "Nothing", "Whole", "bind_by_parts", "store"]


class Bound(Protocol):
    """A law bound to a destination. It promises nothing about where that is.

    One on a device says so (`queues`, True): its run only queues what the device will do, so it needs no threads.
    """

    @property
    def size(self) -> int:
        """Elements of the destination."""
        ...

    def run(self, lo: int, hi: int) -> None:
        """Fill the destination's elements lo..hi, counted in its row-major order."""
        ...


class Destination:
    """Where values go: an array over a box of a tensor, under the tensor's key.

    out : array of the box's shape, any strides; where it stands for a narrow type it may hold its words. It may be a
        DeviceArray where the law has kernels for a device (laws.drawn_on_devices).
    dtype : the canonical name of the dtype that out holds or stands for.
    key : the two words of the tensor's stream.
    shape : the global shape.
    box : a checked box (see shapes.check_box), or None for all of the tensor.
    scale : None where values are stored; the factor with which they are added to what is there.
    offset : what is added to the index of every element.
    """

    __slots__ = ("box", "dtype", "key", "offset", "out", "scale", "shape")

    def __init__(
        self,
        out: np.ndarray,
        dtype: str,
        key: tuple[int, int],
        shape: Shape,
        box: tuple[slice, ...] | range | None = None,
        scale: float | None = None,
        offset: int = 0,
    ) -> None:
        self.out, self.dtype, self.key, self.shape = out, dtype, key, shape
        self.box, self.scale, self.offset = box, scale, offset


def store(to: Destination, out: np.ndarray, where: Any, values: Any) -> None:
    """Write values of the arithmetic type to elements of a part of a destination, or add them: one rounding.

    The caller sets the default floating-point mode and NumPy's silence about what overflows.
    """
    scale = to.scale
    if to.dtype in WORDS:
        from winit._kernels.numpy_halves import ROUND

        to_word, from_word = ROUND[to.dtype]
        words = as_words(out, to.dtype)
        values = np.asarray(values, np.float32)
        if scale is not None:
            values = from_word(words[where]) + np.float32(scale) * values
        words[where] = to_word(values)
    elif scale is not None:
        wide = np.dtype(np.float64 if to.dtype == "float64" else np.float32)
        out[where] = out[where].astype(wide) + wide.type(scale) * np.asarray(values, wide)
    else:
        out[where] = values


def _silent(to: Destination) -> AbstractContextManager[None]:
    """Overflow to infinity is what rounding and adding are defined to do: nothing to warn of."""
    plain = to.scale is None and to.dtype in ("float32", "float64")  # values are stored as they are
    return nullcontext() if plain else np.errstate(all="ignore")


class Nothing:
    """What a destination without elements is bound to."""

    size = 0

    def run(self, lo: int, hi: int) -> None:
        pass


class Chained:
    """Bounds one after the other: positions 0.. are the first one's, then the second's."""

    def __init__(self, bounds: Sequence[Bound]) -> None:
        self.bounds = [bound for bound in bounds if bound.size]
        self.size = sum(bound.size for bound in self.bounds)
        self.queues = all(getattr(bound, "queues", False) for bound in self.bounds)

    def run(self, lo: int, hi: int) -> None:
        first = 0
        for bound in self.bounds:
            last = first + bound.size
            if lo < last and first < hi:
                bound.run(max(lo, first) - first, min(hi, last) - first)
            first = last


class Computed:
    """Values that are a formula of the index: a range computes its own, box by box.

    write(out, box) stores the values of a box of the tensor in an array of the box's shape.
    """

    def __init__(self, to: Destination, write: Callable[[np.ndarray, tuple[slice, ...]], None]) -> None:
        self.to, self.write, self.size = to, write, to.out.size

    def run(self, lo: int, hi: int) -> None:
        with _kernels.default_float_mode(), _silent(self.to):
            for out, box in self._parts(lo, hi):
                self.write(out, box)

    def _parts(self, lo: int, hi: int) -> Iterator[tuple[np.ndarray, tuple[slice, ...]]]:
        """Cut positions lo..hi into boxes: the part of the destination, and the box of the tensor."""
        out, box = self.to.out, self.to.box
        if isinstance(box, range):
            for found in boxes_of(self.to.shape, box.start + lo, box.start + hi):
                shape = locate(self.to.shape, found)[0]
                count = prod(shape)
                yield out[lo : lo + count].reshape(shape), found  # a view: it was one axis
                lo += count
            return
        for found in boxes_of(out.shape, lo, hi):
            where: Any = (*found, ...)  # a view of a tensor without axes, too
            part = out[where]
            if box is None:
                yield part, found
            else:
                starts = zip(box, found, strict=True)
                yield part, tuple(slice(own.start + at.start, own.start + at.stop) for own, at in starts)


class Whole:
    """Values that are there at once, or are made when they are needed, by as many threads as are asked for."""

    def __init__(self, to: Destination, make: Callable[[int | None], np.ndarray]) -> None:
        self.to, self.make, self.size = to, make, to.out.size

    def run(self, lo: int, hi: int, threads: int | None = None) -> None:
        with _kernels.default_float_mode():
            values = self.make(threads)
        box = self.to.box
        if values.shape == self.to.shape and box is not None:
            values = values.reshape(-1)[box.start : box.stop] if isinstance(box, range) else values[box]
        with _kernels.default_float_mode(), _silent(self.to):
            store(self.to, self.to.out, ..., values)


def bind_by_parts(to: Destination, axis: int, extents: Sequence[int], laws: Sequence[Law]) -> Bound:
    """Bind each part of a tensor, cut along an axis, to a law of its own under the tensor's one stream."""
    ends = np.cumsum([0, *extents]).tolist()
    if not isinstance(to.box, range):
        begin = 0 if to.box is None else to.box[axis].start
        bounds = []
        for lo, hi, law in zip(ends, ends[1:], laws, strict=False):
            first, last = max(lo - begin, 0), min(hi - begin, to.out.shape[axis])
            if first >= last:
                continue
            whole = to.box or tuple(slice(0, size) for size in to.shape)
            box = (*whole[:axis], slice(begin + first, begin + last), *whole[axis + 1 :])
            part = to.out[(slice(None),) * axis + (slice(first, last),)]
            bounds.append(law.bind(Destination(part, to.dtype, to.key, to.shape, box, to.scale)))
        return Chained(bounds)
    bounds, place = [], 0
    for box in boxes_of(to.shape, to.box.start, to.box.stop):
        shape = locate(to.shape, box)[0]
        count = prod(shape)
        # A slice of one axis and any stride is reshaped without a copy.
        part = to.out[place : place + count].reshape(shape)
        inner = Destination(part, to.dtype, to.key, to.shape, box, to.scale)
        bounds.append(bind_by_parts(inner, axis, extents, laws))
        place += count
    return Chained(bounds)
