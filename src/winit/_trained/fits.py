"""A tensor of the plan made of one in a file: whole, in part, or grown by rows that its own rows give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from winit import _kernels
from winit._core.drawing import draw
from winit._core.dtypes import FLOATS, convert, element_dtype, empty, widen
from winit._core.keys import stream_key
from winit._core.shapes import Shape
from winit._dense.passes import dense_forward
from winit._files.entries import Entry
from winit._files.reader import Reader, reader_of, take
from winit._files.safetensors_header import CODES
from winit._files.storing import SPAN
from winit._plans.globs import matches
from winit._plans.param import Param
from winit._trained.name_rules import FITS
from winit.checkpoint.spans import DrawnSpan
from winit.schemes.plain import normal

__all__ = ["Loaded", "LoadedSpan", "evenly_spaced", "fitted"]

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
    """A tensor of the plan that comes from a file.

    known: how far along each axis the file's elements, those at picks, reach. The rest is drawn, or, along `axis`, rows
    made from the old ones.
    """

    name: str
    param: Param
    key: str
    entry: Entry
    how: str | None
    picks: list[range | np.ndarray]
    known: Shape
    axis: int | None = None
    held: np.ndarray | None = field(default=None, repr=False)  # the picked elements, where they cannot be read in order
    rows: np.ndarray | None = field(default=None, repr=False)  # new rows, float64

    @property
    def direct(self) -> bool:
        """Whether the file's bytes are the tensor's."""
        same = self.how is None and self.entry.dtype == self.param.dtype != "bool"
        return same and not self.entry.fortran and not self.entry.swapped

    @property
    def shape(self) -> Shape:
        """The tensor's shape, with an axis at least."""
        return self.param.shape or (1,)

    def convert(self, block: np.ndarray) -> np.ndarray:
        what = f"{self.name}: {self.entry.name!r} of {self.entry.file.path}"
        return convert(block, self.entry.dtype, self.param.dtype, what)

    def prepared(self, descriptor: int, seed: int, scale: float, threads: int | None) -> Loaded:
        """Find what one pass over the picked elements cannot: their transpose, or what new rows are made of."""
        entry = self.entry
        shape = entry.shape or (1,)
        growing = self.axis is not None and self.shape[self.axis] > shape[self.axis]
        held = None
        if entry.fortran:  # it is the transpose that is in row-major order
            flipped = empty(self.known[::-1], element_dtype(entry.dtype))
            take(reader_of(descriptor, entry), entry, shape[::-1], self.picks[::-1], flipped, lambda block: block)
            held = flipped.T
        elif growing and self.axis:
            held = empty(self.known, element_dtype(entry.dtype))
            take(reader_of(descriptor, entry), entry, shape, self.picks, held, lambda block: block)
        found = replace(self, held=held)
        return replace(found, rows=found._new_rows(descriptor, seed, scale, threads)) if growing else found

    def _old_rows(self, descriptor: int) -> Iterator[np.ndarray]:
        """Give the old rows in order, ROWS at a time, as float64 (rows, features)."""
        axis, entry = self.axis, self.entry
        assert axis is not None
        reader = reader_of(descriptor, entry)
        shape = entry.shape or (1,)
        for lo in range(0, shape[axis], ROWS):
            picks = list(self.picks)
            picks[axis] = picks[axis][lo : lo + ROWS]
            if self.held is None:
                block = empty(tuple(map(len, picks)), element_dtype(entry.dtype))
                take(reader, entry, shape, picks, block, lambda block: block)
            else:
                block = np.moveaxis(self.held, axis, 0)[lo : lo + ROWS]
            yield widen(block, entry.dtype).astype(np.float64).reshape(len(block), -1)

    def _new_rows(self, descriptor: int, seed: int, scale: float, threads: int | None) -> np.ndarray:
        """Make new rows: mean + sqrt(scale / V) Z (X - mean), X the V old rows and Z standard normal.

        That is normal with scale times the covariance of X, singular or not, without the covariance and its root.
        """
        axis = self.axis
        assert axis is not None
        old = self.entry.shape[axis]
        features = self.shape[:axis] + self.shape[axis + 1 :]
        new = self.shape[axis] - old
        with _kernels.default_float_mode(), np.errstate(all="ignore"):
            total = np.zeros(prod(features))
            for block in self._old_rows(descriptor):
                for row in block:  # in order: how NumPy would add up an axis depends on its strides
                    total += row
            mean = total / old
            if not np.isfinite(mean).all():
                raise ValueError(f"{self.name}: the rows of {self.entry.name!r} have no finite mean")
            rows = np.zeros((new, prod(features)))
            if self.how == "covariance" and rows.size:
                lo = 0
                for block in self._old_rows(descriptor):
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
            if self.held is not None:
                known[...] = self.convert(np.ascontiguousarray(self.held[tuple(inside)]))
            else:
                picks = [pick[part] for pick, part in zip(self.picks, inside, strict=True)]
                take(reader, self.entry, self.entry.shape or (1,), picks, known, self.convert)
        if self.rows is not None and self.axis is not None:
            old, part = self.entry.shape[self.axis], box[self.axis]
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
    descriptor: int
    seed: int
    boxes: Sequence[tuple[list[slice], int, int]]
    place: int = 0
    out: np.ndarray | None = None  # the whole tensor, flat

    def pieces(self, buffer: Any) -> Iterator[tuple[int, memoryview]]:
        param = self.tensor.param
        reader = reader_of(self.descriptor, self.tensor.entry)
        for box, lo, hi in self.boxes:
            size = (hi - lo) * param.itemsize
            into = buffer[:size].view(element_dtype(param.dtype)) if self.out is None else self.out[lo:hi]
            self.tensor.fill(reader, self.seed, box, lo, hi, into)
            data: Any = into.view(np.uint8)
            yield self.place + lo * param.itemsize, memoryview(data)


def fitted(name: str, param: Param, key: str, entry: Entry, ways: Sequence[tuple[str, str]], cast: bool) -> Loaded:
    """Check that a source fits a tensor, and say how."""
    source = f"{name}: {entry.name!r} of {entry.file.path}"
    if entry.dtype not in CODES:
        raise ValueError(f"{source} has dtype {entry.dtype}, expected {param.dtype}")
    if entry.dtype != param.dtype:
        floats = entry.dtype in FLOATS and param.dtype in FLOATS
        if not (floats and cast):
            hint = " (cast=True converts)" if floats else ""
            raise ValueError(f"{source} has dtype {entry.dtype}, expected {param.dtype}{hint}")
    if entry.shape == param.shape:
        every: list[range | np.ndarray] = [range(size) for size in param.shape or (1,)]
        return Loaded(name, param, key, entry, None, every, param.shape or (1,))
    how = next((how for pattern, how in ways if matches(pattern, name)), None)
    expected = f"{source} has shape {entry.shape}, expected {param.shape}"
    permuted = len(entry.shape) > 1 and sorted(entry.shape) == sorted(param.shape)
    if permuted and how in (None, "overlap"):
        # The part that both have would be a block of the source where the plan has its transpose.
        raise ValueError(f"{expected}: the same sizes in another order, which no fit makes of each other")
    if how is None:
        raise ValueError(f"{expected} (fit= can be {', '.join(FITS)})")
    if len(entry.shape) != len(param.shape):
        raise ValueError(f"{expected}; {how!r} needs the same number of axes")
    pairs = list(zip(entry.shape, param.shape, strict=True))
    differ = [axis for axis, (old, new) in enumerate(pairs) if old != new]
    if how == "select":
        if any(old < new for old, new in pairs):
            raise ValueError(f"{expected}; 'select' needs a source that is nowhere smaller")
        return Loaded(name, param, key, entry, how, [evenly_spaced(*pair) for pair in pairs], param.shape)
    known = tuple(map(min, pairs))
    picks: list[range | np.ndarray] = [range(size) for size in known]
    if how == "overlap":
        return Loaded(name, param, key, entry, how, picks, known)
    if len(differ) > 1:
        raise ValueError(f"{expected}; {how!r} needs shapes that differ along one axis")
    if param.dtype not in FLOATS:
        raise ValueError(f"{source} is {entry.dtype}; {how!r} needs floating-point values")
    if entry.shape[differ[0]] == 0:
        raise ValueError(f"{expected}; {how!r} needs at least one old row")
    return Loaded(name, param, key, entry, how, picks, known, differ[0])
