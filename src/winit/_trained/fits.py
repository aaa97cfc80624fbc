"""A tensor of the plan made of what the files give: whole, in part, or with rows made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from winit import _kernels
from winit._core.drawing import draw
from winit._core.dtypes import FLOATS, convert, element_dtype, empty, widen
from winit._core.keys import stream_key
from winit._core.layouts import roles
from winit._core.shapes import Shape
from winit._dense.passes import dense_forward
from winit._files.entries import File
from winit._files.reader import MemoryReader, Picks, Reader, take
from winit._files.safetensors_header import CODES
from winit._files.storing import SPAN, MadeOnce
from winit._plans.globs import matches
from winit._plans.param import Param
from winit._trained.name_rules import FITS
from winit._trained.resizing import bicubic, grids, other_channels
from winit._trained.sources import FOREIGN, Content
from winit.checkpoint.spans import DrawnSpan
from winit.schemes.plain import normal

__all__ = ["Loaded", "LoadedSpan", "evenly_spaced", "fitted", "spans_of_loaded"]

ROWS = 384  # old rows in one product of "covariance": one block of the dense pass's chain of sums


def evenly_spaced(length: int, count: int) -> np.ndarray:
    """Return the indices that weight selection picks: `count` of `length`, evenly spaced.

    i length / count where that is whole, else i (length - 1) / (count - 1) rounded, halves to even. Integers alone.

    >>> evenly_spaced(12, 4).tolist(), evenly_spaced(10, 4).tolist()
    ([0, 3, 6, 9], [0, 3, 6, 9])
    >>> evenly_spaced(7, 5).tolist()
    [0, 2, 3, 4, 6]
    """
    i = np.arange(count, dtype=np.int64)
    if count == 0 or length % count == 0:
        return i * (length // max(count, 1))
    steps = count - 1
    each, over = divmod(length - 1, steps)
    whole, rest = i * each + i * over // steps, i * over % steps
    return whole + ((2 * rest > steps) | ((2 * rest == steps) & (whole % 2 == 1)))


@dataclass(frozen=True)
class Loaded:
    """A tensor of the plan that comes from the files.

    known: how far along each axis the content's elements, those at picks, reach. The rest is drawn, or, along `axis`,
    rows made from the content.
    """

    name: str
    param: Param
    key: str
    content: Content
    how: str | None
    picks: list[range | np.ndarray]
    known: Shape
    axis: int | None = None
    rows: np.ndarray | None = field(default=None, repr=False)  # those that are made, float64

    @property
    def direct(self) -> bool:
        """Whether the content's bytes are the tensor's."""
        return self.how is None and self.content.dtype == self.param.dtype != "bool" and not self.content.swapped

    @property
    def shape(self) -> Shape:
        """The tensor's shape, with an axis at least."""
        return self.param.shape or (1,)

    @property
    def old_shape(self) -> Shape:
        """The content's shape, with an axis at least."""
        return self.content.shape or (1,)

    def convert(self, block: np.ndarray) -> np.ndarray:
        return convert(block, self.content.dtype, self.param.dtype, f"{self.name}: {self.content.text}")

    def prepared(self, descriptors: Mapping[File, int], seed: int, scale: float, threads: int | None) -> Loaded:
        """Make the rows that one pass over the content's elements cannot."""
        if self.axis is None or self.shape[self.axis] <= self.known[self.axis]:
            return self
        reader = self.content.reader(descriptors)
        with _kernels.default_float_mode(), np.errstate(all="ignore"):
            if self.how in ("mean", "covariance"):
                return replace(self, rows=self._new_rows(reader, self.axis, seed, scale, threads))
            values = self._taken(reader, [range(size) for size in self.old_shape])
            if self.how == "channels":
                return replace(self, rows=other_channels(values, self.axis, self.shape[self.axis]))
            return replace(self, rows=self._resized(values, self.axis))

    def _taken(self, reader: Reader, picks: Picks) -> np.ndarray:
        """Read the picked elements as float64."""
        block = empty(tuple(map(len, picks)), element_dtype(self.content.dtype))
        take(reader, self.content, self.old_shape, picks, block, lambda block: block)
        return widen(block, self.content.dtype).astype(np.float64)

    def _resized(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Make the positions of a larger or smaller grid, which follow the prefix tokens."""
        found = grids(values.shape[axis], self.shape[axis])
        assert found is not None
        prefix, old, new = found
        grid = np.moveaxis(values, axis, 0)[prefix:]
        made = bicubic(grid.reshape(old, old, *grid.shape[1:]), new, new)
        return np.moveaxis(made.reshape(new * new, *grid.shape[1:]), 0, axis)

    def _new_rows(self, reader: Reader, axis: int, seed: int, scale: float, threads: int | None) -> np.ndarray:
        """Make new rows: mean + sqrt(scale / V) Z (X - mean), X the V old rows and Z standard normal.

        That is normal with scale times the covariance of X, singular or not, without the covariance and its root.
        """
        old = self.old_shape[axis]
        features = self.shape[:axis] + self.shape[axis + 1 :]
        new = self.shape[axis] - old
        # Blocks along another axis than the first would read the file once each.
        held = self._taken(reader, [range(size) for size in self.known]) if axis else None

        def blocks() -> Iterator[np.ndarray]:
            for lo in range(0, old, ROWS):
                if held is not None:
                    block = np.moveaxis(held, axis, 0)[lo : lo + ROWS]
                else:
                    block = self._taken(reader, [range(lo, min(lo + ROWS, old)), *self.picks[1:]])
                yield block.reshape(len(block), -1)

        total = np.zeros(prod(features))
        for block in blocks():
            for row in block:  # in order: how NumPy would add up an axis depends on its strides
                total += row
        mean = total / old
        if not np.isfinite(mean).all():
            raise ValueError(f"{self.name}: the rows of {self.content.said} have no finite mean")
        rows = np.zeros((new, prod(features)))
        if self.how == "covariance" and rows.size:
            lo = 0
            for block in blocks():
                box = (slice(None), slice(lo, lo + len(block)))
                z = draw(normal(), (new, old), seed=seed, name=self.key, dtype="float64", box=box, threads=threads)
                rows += dense_forward(z, block - mean, layout="io", threads=threads)[0]
                lo += len(block)
            rows *= np.sqrt(scale / old)
        rows += mean
        return np.moveaxis(rows.reshape(new, *features), 0, axis)

    def boxes(self) -> Iterator[tuple[list[slice], int, int]]:
        """Cut the tensor into boxes that are ranges of flat indices, too: (box, lo, hi)."""
        shape, itemsize = self.shape, self.param.itemsize
        if self.param.size == 0:
            return
        axis = next(j for j in range(len(shape)) if prod(shape[j + 1 :]) * itemsize <= SPAN // 4)
        inner = prod(shape[axis + 1 :])
        step = SPAN // (inner * itemsize)
        lo = 0
        for lead in np.ndindex(shape[:axis]):
            for first in range(0, shape[axis], step):
                last = min(first + step, shape[axis])
                box = [slice(index, index + 1) for index in lead] + [slice(first, last)]
                hi = lo + (last - first) * inner
                yield box + [slice(0, size) for size in shape[axis + 1 :]], lo, hi
                lo = hi

    def fill(self, reader: Reader, seed: int, box: list[slice], lo: int, hi: int, out: np.ndarray) -> None:
        """Fill out, the flat elements lo..hi that a box holds."""
        if self.direct:
            reader.read(out.view(np.uint8), lo * self.param.itemsize)
            return
        if self.how == "overlap" and any(part.stop > size for part, size in zip(box, self.known, strict=True)):
            span = DrawnSpan(self.name, self.param, stream_key(seed, self.key), lo, hi, 0, None)
            span.draw(out.view(np.uint8))
        block = out.reshape([part.stop - part.start for part in box])
        inside = [slice(part.start, min(part.stop, size)) for part, size in zip(box, self.known, strict=True)]
        if all(part.start < part.stop for part in inside):
            known = block[tuple(slice(0, part.stop - part.start) for part in inside)]
            picks = [pick[part] for pick, part in zip(self.picks, inside, strict=True)]
            take(reader, self.content, self.old_shape, picks, known, self.convert)
        if self.rows is not None and self.axis is not None:
            old, part = self.known[self.axis], box[self.axis]
            first = max(part.start, old)
            if first < part.stop:
                from_, to = list(box), [slice(None)] * len(box)
                from_[self.axis] = slice(first - old, part.stop - old)
                to[self.axis] = slice(first - part.start, None)
                new = np.ascontiguousarray(self.rows[tuple(from_)])
                block[tuple(to)] = convert(new, "float64", self.param.dtype, f"{self.name}: a new row")


@dataclass(frozen=True)
class LoadedSpan:
    """What one thread reads of a tensor: one box, or, where it must be read in order, all of them."""

    tensor: Loaded
    descriptors: Mapping[File, int]
    seed: int
    boxes: Sequence[tuple[list[slice], int, int]]
    made: MadeOnce | None  # the content, where it is made as a whole
    place: int = 0
    out: np.ndarray | None = None  # the whole tensor, flat

    def pieces(self, buffer: Any) -> Iterator[tuple[int, memoryview]]:
        with self.made or nullcontext() as values:
            reader = self.tensor.content.reader(self.descriptors) if values is None else MemoryReader(values)
            yield from self._pieces(reader, buffer)

    def _pieces(self, reader: Reader, buffer: Any) -> Iterator[tuple[int, memoryview]]:
        param = self.tensor.param
        for box, lo, hi in self.boxes:
            size = (hi - lo) * param.itemsize
            into = buffer[:size].view(element_dtype(param.dtype)) if self.out is None else self.out[lo:hi]
            self.tensor.fill(reader, self.seed, box, lo, hi, into)
            data: Any = into.view(np.uint8)
            yield self.place + lo * param.itemsize, memoryview(data)


def spans_of_loaded(
    tensor: Loaded, descriptors: Mapping[File, int], seed: int, place: int, out: np.ndarray | None
) -> Iterator[LoadedSpan]:
    """Cut a tensor that is ready for its pass into spans, at its place in the file or into an array."""
    boxes = list(tensor.boxes())
    parts = [boxes] if tensor.content.forwards else [[box] for box in boxes]
    made = MadeOnce(partial(tensor.content.made, descriptors), len(parts)) if tensor.content.parts else None
    for some in parts:
        yield LoadedSpan(tensor, descriptors, seed, some, made, place, out)


def fitted(name: str, param: Param, key: str, content: Content, ways: Sequence[tuple[str, str]], cast: bool) -> Loaded:
    """Check that a content fits a tensor, and say how."""
    source = f"{name}: {content.text}"
    if content.dtype not in CODES:
        hint = " (as uint8 it is taken by its bytes, and cast=True converts it)" if content.dtype in FOREIGN else ""
        raise ValueError(f"{source} has dtype {content.dtype}, expected {param.dtype}{hint}")
    if content.stored_as != param.dtype and (content.dtype, content.stored_as in FOREIGN) != ("uint8", True):
        floats = content.dtype in FLOATS and param.dtype in FLOATS
        if not (floats and cast):
            hint = " (cast=True converts)" if floats else ""
            raise ValueError(f"{source} has dtype {content.stored_as}, expected {param.dtype}{hint}")
    if content.shape == param.shape:
        every: list[range | np.ndarray] = [range(size) for size in param.shape or (1,)]
        return Loaded(name, param, key, content, None, every, param.shape or (1,))
    how = next((how for pattern, how in ways if matches(pattern, name)), None)
    expected = f"{source} has shape {content.shape}, expected {param.shape}"
    permuted = len(content.shape) > 1 and sorted(content.shape) == sorted(param.shape)
    if permuted and how in (None, "overlap"):
        # The part that both have would be a block of the source where the plan has its transpose.
        hint = (
            " (names= may lead to winit.Source(..., transpose=True))"
            if content.shape[:-3:-1] == param.shape[-2:]
            else ""
        )
        raise ValueError(f"{expected}: the same sizes in another order, which no fit makes of each other{hint}")
    if how is None:
        hint = f"fit= can be {', '.join(FITS)}"
        if prod(content.shape) == prod(param.shape):
            hint = f"names= may lead to winit.Source(..., reshape={param.shape})"
        raise ValueError(f"{expected} ({hint})")
    if len(content.shape) != len(param.shape):
        raise ValueError(f"{expected}; {how!r} needs the same number of axes")
    pairs = list(zip(content.shape, param.shape, strict=True))
    differ = [axis for axis, (old, new) in enumerate(pairs) if old != new]
    if how == "select":
        if any(old < new for old, new in pairs):
            raise ValueError(f"{expected}; 'select' needs a source that is nowhere smaller")
        return _loaded(name, param, key, content, how, [evenly_spaced(*pair) for pair in pairs])
    known = tuple(map(min, pairs))
    picks: list[range | np.ndarray] = [range(size) for size in known]
    if how == "overlap":
        return _loaded(name, param, key, content, how, picks)
    if len(differ) > 1:
        raise ValueError(f"{expected}; {how!r} needs shapes that differ along one axis")
    axis = differ[0]
    if param.dtype not in FLOATS:
        raise ValueError(f"{source} is {content.dtype}; {how!r} needs floating-point values")
    if how in ("bicubic", "channels"):
        picks[axis] = range(_kept(how, param, pairs[axis], axis, expected))
        known = tuple(map(len, picks))
    elif content.shape[axis] == 0:
        raise ValueError(f"{expected}; {how!r} needs at least one old row")
    return Loaded(name, param, key, content, how, picks, known, axis)


def _loaded(name: str, param: Param, key: str, content: Content, how: str, picks: list[range | np.ndarray]) -> Loaded:
    """A tensor of which only the picked elements of its content are needed."""
    known = tuple(map(len, picks))
    picked = content.picked(picks)
    if picked is None:
        return Loaded(name, param, key, content, how, picks, known)
    return Loaded(name, param, key, picked, how, [range(size) for size in known], known)


def _kept(how: str, param: Param, sizes: tuple[int, int], axis: int, expected: str) -> int:
    """How many indices of the axis that differs are the old ones: prefix tokens of a grid."""
    if how == "bicubic":
        found = grids(*sizes)
        if found is None:
            raise ValueError(f"{expected}; 'bicubic' needs square grids, behind equally many prefix tokens")
        return found[0]
    if len(param.shape) < 3 or axis not in roles(param.shape, param.layout or "oi")[1]:
        raise ValueError(f"{expected}; 'channels' needs a convolution whose input channels alone differ")
    if 0 in sizes:
        raise ValueError(f"{expected}; 'channels' needs at least one input channel")
    return 0
