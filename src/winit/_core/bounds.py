"""Destinations and what a law makes of them: something with a size whose ranges fill the destination's elements.

A law is bound once (`law.bind(destination)`), and its ranges run in any order, in any threads. Most laws are bound to a
kernel of the engine in use, whose Fill is a Bound; the classes here are those that need no kernel of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from winit import _kernels
from winit._core.dtypes import HALVES
from winit._core.shapes import Shape, boxes_of, locate

if TYPE_CHECKING:
    from winit._core.laws import Law

__all__ = ["Bound", "Chained", "Computed", "Destination", "Nothing", "Whole", "bind_by_parts"]


class Bound(Protocol):
    """A law bound to a destination. It promises nothing about where that is: a device's will do."""

    @property
    def size(self) -> int:
        """Elements of the destination."""
        ...

    def run(self, lo: int, hi: int) -> None:
        """Fill the destination's elements lo..hi, counted in its row-major order."""
        ...


class Destination:
    """Where values go: an array over a box of a tensor, under the tensor's key.

    out : array of the box's shape, any strides; where it stands for bfloat16 it may hold uint16 words.
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

    @property
    def code(self) -> int:
        """The kernels' number of the dtype."""
        return _kernels.DTYPES.index(self.dtype)

    @property
    def arithmetic(self) -> str:
        """The dtype that a law rounds its numbers for: what is added is the value before it is rounded to a half."""
        return "float32" if self.scale is not None and self.dtype in HALVES else self.dtype

    @property
    def words(self) -> np.ndarray:
        """The array as kernels take it: half types as words of 16 bits."""
        return self.out.view(np.uint16) if self.dtype in HALVES else self.out

    def store(self, where: Any, values: np.ndarray) -> None:
        """Write values of the arithmetic type to elements, or add them: wide + scale * value, rounded once."""
        from winit._kernels.numpy_engine import round_bf16, widen_bf16

        out, scale = self.out, self.scale
        with _kernels.default_float_mode(), np.errstate(all="ignore"):
            if self.dtype == "bfloat16":
                words = out.view(np.uint16)
                if scale is not None:
                    values = widen_bf16(words[where]) + np.float32(scale) * values
                words[where] = round_bf16(np.asarray(values))
            elif scale is not None:
                out[where] = out[where].astype(values.dtype) + values.dtype.type(scale) * values
            else:
                out[where] = values


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

    def run(self, lo: int, hi: int) -> None:
        first = 0
        for bound in self.bounds:
            last = first + bound.size
            if lo < last and first < hi:
                bound.run(max(lo, first) - first, min(hi, last) - first)
            first = last


class Computed:
    """Values that are a closed form of the index: a range computes its own, box by box."""

    def __init__(self, to: Destination, values: Callable[[tuple[slice, ...]], np.ndarray]) -> None:
        self.to, self.values, self.size = to, values, to.out.size

    def run(self, lo: int, hi: int) -> None:
        to = self.to
        if isinstance(to.box, range):
            place = 0
            for box in boxes_of(to.shape, to.box.start + lo, to.box.start + hi):
                part = self.values(box)
                to.store(slice(lo + place, lo + place + part.size), part.ravel())
                place += part.size
            return
        for where in boxes_of(to.out.shape, lo, hi):
            box = where
            if to.box is not None:
                box = tuple(
                    slice(start.start + part.start, start.start + part.stop)
                    for start, part in zip(to.box, where, strict=True)
                )
            to.store(where, self.values(box))


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
        self.to.store(..., values)


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
        count = int(np.prod(shape, dtype=np.int64))
        # A slice of one axis and any stride is reshaped without a copy.
        part = to.out[place : place + count].reshape(shape)
        inner = Destination(part, to.dtype, to.key, to.shape, box, to.scale)
        bounds.append(bind_by_parts(inner, axis, extents, laws))
        place += count
    return Chained(bounds)
