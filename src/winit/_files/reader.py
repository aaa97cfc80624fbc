"""The bytes of a tensor in a file, read in blocks: as they are, inflated, or only the indices that are picked."""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod
from typing import Any, Protocol

import numpy as np

from winit._core.dtypes import element_dtype
from winit._core.shapes import Shape
from winit._files.entries import Entry

__all__ = ["BLOCK", "ChainedReader", "MemoryReader", "Picks", "Reader", "read_at", "reader_of", "take"]

BLOCK = 4 << 20  # bytes of a file that one thread reads at a time
GAP = 64 << 10  # bytes between picked rows that are cheaper to read than to skip

Picks = Sequence[range | np.ndarray]  # for each axis its indices, ascending; a range has step 1


def read_at(descriptor: int, into: memoryview, place: int, name: str) -> None:
    """Fill a byte buffer from a place in a file; ValueError where the file ends before."""
    while into:
        count = os.preadv(descriptor, [into], place) if hasattr(os, "preadv") else _pread(descriptor, into, place)
        if count == 0:
            raise ValueError(f"{name} was cut short while it was read")
        into, place = into[count:], place + count


def _pread(descriptor: int, into: memoryview, place: int) -> int:
    data = os.pread(descriptor, len(into), place)
    into[: len(data)] = data
    return len(data)


class Reader(Protocol):
    """Reads bytes of a tensor."""

    def read(self, into: Any, offset: int) -> None:
        """Fill a byte buffer with a tensor's bytes from an offset on."""
        ...


class PlainReader:
    """A tensor whose bytes stand in the file as they are: any number of threads may read it."""

    def __init__(self, descriptor: int, entry: Entry) -> None:
        self.descriptor, self.entry = descriptor, entry

    def read(self, into: Any, offset: int) -> None:
        try:
            read_at(self.descriptor, memoryview(into), self.entry.place + offset, self.entry.file.path)
        except OSError as error:
            error.filename = self.entry.file.path
            raise


class InflatingReader:
    """A compressed tensor: read forwards, and from the start again to go back. For one thread."""

    def __init__(self, descriptor: int, entry: Entry) -> None:
        self.plain, self.entry = PlainReader(descriptor, entry), entry
        self._restart()

    def _restart(self) -> None:
        self.inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self.at = self.taken = self.crc = 0

    def read(self, into: Any, offset: int) -> None:
        into = memoryview(into)
        offset += self.entry.skip
        if offset < self.at:
            self._restart()
        while self.at < offset:
            self._next(min(offset - self.at, 1 << 20))
        while into:
            data = self._next(len(into))
            into[: len(data)] = data
            into = into[len(data) :]

    def _next(self, most: int) -> bytes:
        packed = self.entry.packed
        assert packed is not None
        while True:
            source = self.inflate.unconsumed_tail
            if not source and self.taken < packed:
                piece = bytearray(min(1 << 16, packed - self.taken))
                self.plain.read(piece, self.taken)
                self.taken += len(piece)
                source = bytes(piece)
            try:
                data = self.inflate.decompress(source, most)
            except zlib.error as error:
                raise self._broken(str(error)) from None
            if data:
                break
            if self.inflate.eof or (not source and self.taken == packed):
                raise self._broken("they end early")
        self.at += len(data)
        self.crc = zlib.crc32(data, self.crc)
        if self.at == self.entry.skip + self.entry.nbytes and self.entry.crc and self.crc != self.entry.crc:
            raise self._broken("their checksum is wrong")
        return data

    def _broken(self, what: str) -> ValueError:
        return ValueError(f"{self.entry.file.path}: the compressed bytes of {self.entry.name!r} are broken: {what}")


class ChainedReader:
    """Tensors whose bytes are read as one's, each after the other. For one thread."""

    def __init__(self, readers: Sequence[Reader], sizes: Sequence[int]) -> None:
        self.readers = readers
        self.ends = list(accumulate(sizes))

    def read(self, into: Any, offset: int) -> None:
        into = memoryview(into)
        at = bisect_right(self.ends, offset)
        while into:
            begin = self.ends[at - 1] if at else 0
            count = min(len(into), self.ends[at] - offset)
            self.readers[at].read(into[:count], offset - begin)
            into, offset, at = into[count:], offset + count, at + 1


class MemoryReader:
    """A tensor that is in memory: any number of threads may read it."""

    def __init__(self, array: np.ndarray) -> None:
        self.raw: Any = array.reshape(-1).view(np.uint8)

    def read(self, into: Any, offset: int) -> None:
        memoryview(into)[:] = memoryview(self.raw)[offset : offset + len(into)]


def reader_of(descriptor: int, entry: Entry) -> Reader:
    """Return what reads a tensor's bytes, for one thread."""
    return PlainReader(descriptor, entry) if entry.packed is None else InflatingReader(descriptor, entry)


class Typed(Protocol):
    """What is known of the elements that are read; text: what messages call it."""

    @property
    def dtype(self) -> str: ...
    @property
    def swapped(self) -> bool: ...
    @property
    def text(self) -> str: ...


def take(
    reader: Reader,
    entry: Typed,
    shape: Shape,
    picks: Picks,
    out: np.ndarray,
    convert: Callable[[np.ndarray], np.ndarray],
    base: int = 0,
) -> None:
    """Fill out with picked indices of each axis of a row-major tensor that begins at element `base`.

    picks are ascending; file offsets only ascend, too. What lies between picked rows is read with them where it is
    short, and never more than BLOCK bytes at a time.
    """
    if out.size == 0:
        return
    kind = element_dtype(entry.dtype)
    indices, inner = picks[0], prod(shape[1:])
    limit = BLOCK // (inner * kind.itemsize)
    if limit == 0:
        for i, index in enumerate(indices):
            take(reader, entry, shape[1:], picks[1:], out[i], convert, base + int(index) * inner)
        return
    if len(indices) > 1 and (indices[-1] - indices[0]) // (len(indices) - 1) * inner * kind.itemsize > GAP:
        limit = 1
    i = 0
    while i < len(indices):
        first = int(indices[i])
        if isinstance(indices, range):
            end = min(i + limit, len(indices))
            rows: range | np.ndarray = range(end - i)
        else:
            end = int(np.searchsorted(indices, first + limit))
            rows = indices[i:end] - first
        count = int(rows[-1]) + 1
        raw = np.empty(count * inner * kind.itemsize, np.uint8)
        reader.read(raw, (base + first * inner) * kind.itemsize)
        if entry.dtype == "bool" and raw.max() > 1:
            raise ValueError(f"{entry.text} is bool and has bytes other than 0 and 1")
        block = raw.view(kind).reshape(count, *shape[1:])
        if entry.swapped:
            block = block.byteswap()
        for axis, chosen in enumerate((rows, *picks[1:])):
            if isinstance(chosen, range):
                block = block[(slice(None),) * axis + (slice(chosen.start, chosen.stop),)]
            else:
                block = block.take(chosen, axis)
        out[i:end] = convert(block)
        i = end
