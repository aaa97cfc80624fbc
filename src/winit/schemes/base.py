"""Bases of schemes: whose tensors are made at once, and whose elements are a formula of their index."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from winit._core.bounds import Destination, store
from winit._core.laws import Law, Moments, mixture
from winit._core.layouts import Axes, Layout, out_parts, roles
from winit._core.scheme import Scheme
from winit._core.whole import Formula, TensorStream, WholeTensor

__all__ = [
    "Entries",
    "FormulaScheme",
    "Kernel",
    "PlacedScheme",
    "Scheme",
    "WholeScheme",
    "convolution",
    "diagonal_in",
    "matrix_axes",
    "moments_of",
]

Box = tuple[slice, ...]


class WholeScheme(Scheme):
    """Base of schemes whose tensors are made at once and then sliced: what one element is depends on others.

    A box of such a tensor costs what the tensor costs.
    """

    __slots__ = ()

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        """Raise for a shape or layout that the scheme does not fit."""
        raise NotImplementedError

    def values(self, stream: TensorStream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        """Make the tensor, in the law's arithmetic type; what is random comes from the stream."""
        raise NotImplementedError

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        """Mean, std, low and high over all elements of the tensor."""
        raise NotImplementedError

    def reach(self, shape: tuple[int, ...], layout: Layout) -> float:
        """What no element's magnitude exceeds."""
        return max(map(abs, self.whole_moments(shape, layout)[2:]))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        parts = out_parts(shape, layout)
        if parts is not None:
            axis, extents = parts
            assert isinstance(layout, Axes)
            split = len(extents) if len(set(extents)) == 1 else 1
            single = Axes(layout.in_, layout.out, layout.batch, layout.groups, split, layout.groups_along)
            if split == 1 and len(extents) > 1:
                return _Parts(self, axis, extents, single).law(shape)
            layout = single
        self.check(shape, layout)
        return self._made(shape, layout)

    def _made(self, shape: tuple[int, ...], layout: Layout) -> Law:
        """The law of a tensor that the scheme fits."""
        return WholeTensor(self, shape, layout)


class _Parts(WholeScheme):
    """A tensor of parts along an axis, each made by itself; their draws follow each other in the tensor's stream."""

    __slots__ = ("axis", "extents", "layout", "scheme")
    scheme: WholeScheme
    axis: int
    extents: tuple[int, ...]
    layout: Layout

    def __init__(self, scheme: WholeScheme, axis: int, extents: tuple[int, ...], layout: Layout) -> None:
        self._set(scheme, axis, extents, layout)

    def shapes(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The shape of each part."""
        return [(*shape[: self.axis], extent, *shape[self.axis + 1 :]) for extent in self.extents]

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        for part in self.shapes(shape):
            self.scheme.check(part, self.layout)

    def _made(self, shape: tuple[int, ...], layout: Layout) -> Law:
        return (Formula if isinstance(self.scheme, FormulaScheme) else WholeTensor)(self, shape, layout)

    def streams(self, stream: TensorStream, shape: tuple[int, ...]) -> list[TensorStream]:
        """The stream of each part: its draws begin where those before it could end."""
        sizes = [math.prod(part) for part in self.shapes(shape)]
        return [TensorStream(stream.key, stream.dtype, stream.threads, sum(sizes[:i])) for i in range(len(sizes))]

    def values(self, stream: TensorStream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        parts = zip(self.streams(stream, shape), self.shapes(shape), strict=True)
        return np.concatenate([self.scheme.values(own, part, self.layout) for own, part in parts], axis=self.axis)

    def write(
        self,
        to: Destination,
        out: np.ndarray,
        box: Box,
        stream: TensorStream,
        shape: tuple[int, ...],
        layout: Layout,
    ) -> None:
        """Store a box of a tensor whose parts are formulas: what each part has of it."""
        assert isinstance(self.scheme, FormulaScheme)
        axis, own, first = self.axis, box[self.axis], 0
        for part_stream, part in zip(self.streams(stream, shape), self.shapes(shape), strict=True):
            lo, hi = max(own.start, first), min(own.stop, first + part[axis])
            if lo < hi:
                inside = (*box[:axis], slice(lo - first, hi - first), *box[axis + 1 :])
                rows = (slice(None),) * axis + (slice(lo - own.start, hi - own.start),)
                self.scheme.write(to, out[rows], inside, part_stream, part, self.layout)
            first += part[axis]

    def reach(self, shape: tuple[int, ...], layout: Layout) -> float:
        return max(self.scheme.reach(part, self.layout) for part in self.shapes(shape))

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        return mixture([self.scheme.whole_moments(part, self.layout) for part in self.shapes(shape)], self.extents)

    def __repr__(self) -> str:
        return repr(self.scheme)


class Entries(NamedTuple):
    """What of a box is not 0: index arrays, one for each axis, and the values there, one for all or one each.

    where is None for all of the box, of whose shape, or broadcast to it, the values are.
    """

    where: tuple[Any, ...] | None
    values: Any


class FormulaScheme(WholeScheme):
    """Base of schemes whose elements are a closed form of their index: a box costs what the box costs.

    `reach` is asked before anything is drawn, and must not go through the elements of the tensor; `whole_moments` does
    here, and schemes that know better say so.
    """

    __slots__ = ()

    def entries(self, box: Box, shape: tuple[int, ...], layout: Layout) -> Entries:
        """Give what of a box is not 0, indices counted in the tensor."""
        raise NotImplementedError

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        self.entries(tuple(slice(0, 0) for _ in shape), shape, layout)

    def _made(self, shape: tuple[int, ...], layout: Layout) -> Law:
        return Formula(self, shape, layout)

    def write(
        self,
        to: Destination,
        out: np.ndarray,
        box: Box,
        stream: TensorStream,
        shape: tuple[int, ...],
        layout: Layout,
    ) -> None:
        """Store a box of the tensor in a part of a destination."""
        where, values = self.entries(box, shape, layout)
        if where is None:
            store(to, out, ..., np.broadcast_to(np.asarray(values, stream.dtype), out.shape))
            return
        places = tuple(index - part.start for index, part in zip(where, box, strict=True))
        if to.scale is None:
            out[...] = 0
            store(to, out, places, np.asarray(values, stream.dtype))
        else:  # scale * 0 is added like any other product: -0 becomes 0
            made = np.zeros(out.shape, stream.dtype)
            made[places] = values
            store(to, out, ..., made)

    def values(self, stream: TensorStream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        made = np.empty(shape, stream.dtype)
        to = Destination(made, stream.dtype, stream.key, shape, offset=stream.offset)
        self.write(to, made, tuple(slice(0, size) for size in shape), stream, shape, layout)
        return made

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        where, values = self.entries(tuple(slice(0, size) for size in shape), shape, layout)
        places = shape if where is None else np.broadcast_shapes(*(np.shape(axis) for axis in where))
        found = np.broadcast_to(np.asarray(values, np.float64), places)
        size, flat = math.prod(shape), found.ravel()
        if size == 0:
            return Moments(0.0, 0.0, 0.0, 0.0)
        mean = math.fsum(flat) / size
        zeros = size - flat.size
        with np.errstate(over="ignore"):  # what is beyond float64 is infinite, and refused where it is drawn
            variance = (math.fsum(np.square(flat - mean)) + zeros * mean * mean) / size
        ends = [float(flat.min()), float(flat.max())] if flat.size else []
        ends += [0.0] if zeros else []
        return Moments(mean, math.sqrt(variance), min(ends), max(ends))


def moments_of(found: Mapping[float, int], size: int) -> Moments:
    """Mean, std, low and high of a tensor of `size` elements, of which so many have each value and the others are 0."""
    there = {value: count for value, count in found.items() if count}
    zeros = size - sum(there.values())
    if size == 0:
        return Moments(0.0, 0.0, 0.0, 0.0)
    mean = math.fsum(count * value for value, count in there.items()) / size
    try:
        square = math.fsum(count * (value - mean) ** 2 for value, count in there.items())
    except OverflowError:  # what is beyond float64 is infinite, and refused where it is drawn
        square = math.inf
    ends = [*there, 0.0] if zeros else list(there)
    return Moments(mean, math.sqrt((square + zeros * mean * mean) / size), min(ends), max(ends))


class PlacedScheme(FormulaScheme):
    """Base of schemes that put one value in some places and 0 in all others: how many is known without looking."""

    __slots__ = ()

    def placed(self, shape: tuple[int, ...], layout: Layout) -> tuple[float, int]:
        """Tell the value, and in how many places of the tensor it is."""
        raise NotImplementedError

    def reach(self, shape: tuple[int, ...], layout: Layout) -> float:
        value, count = self.placed(shape, layout)
        return abs(value) if count else 0.0

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        value, count = self.placed(shape, layout)
        return moments_of({value: count}, math.prod(shape))


def diagonal_in(box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Index what of a matrix's main diagonal lies in a box."""
    rows, columns = box
    diagonal = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
    return diagonal, diagonal


class Kernel(NamedTuple):
    """The out axis and the in axis of a convolution kernel."""

    out: int
    in_: int


def convolution(scheme: WholeScheme, shape: tuple[int, ...], layout: Layout) -> Kernel:
    """Tell the axes of a convolution kernel without groups, or raise."""
    name = type(scheme).__name__
    axes, ins, outs, batches = roles(shape, layout)
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"{name} fills convolution kernels of 3 to 5 axes, not shape {shape}")
    if len(ins) != 1 or len(outs) != 1 or batches or axes.groups > 1 or ins == outs:
        raise ValueError(f"{name} needs one in and one out axis, no groups and no batch, not {layout!r}")
    return Kernel(next(iter(outs)), next(iter(ins)))


def matrix_axes(scheme: WholeScheme, shape: tuple[int, ...], layout: Layout) -> Kernel:
    """Tell the axes of a matrix, or raise."""
    _, ins, outs, _ = roles(shape, layout)
    if len(shape) != 2 or len(ins) != 1 or len(outs) != 1 or ins == outs:
        raise ValueError(f"{type(scheme).__name__} fills matrices (out, in), not shape {shape} in layout {layout!r}")
    return Kernel(next(iter(outs)), next(iter(ins)))
