"""Rows, units and tensors that are equal byte by byte: what hashes suggest is read again and compared."""

from __future__ import annotations

import math

import numpy as np

from winit._files.reader import BLOCK, MemoryReader, Reader, reader_of, take
from winit.checkpoint.statistics import Stored, hashes

__all__ = ["Equal", "equal_along", "equal_rows", "same_bytes"]

FIRST = 1 << 16  # bytes that are read first of all slices, which tells nearly all apart
_WORD = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}

# Groups of the indices of equal slices, ascending; those that are constants are left out.
Equal = list[list[int]]


def same_bytes(one: Reader, at: int, other: Reader, place: int, size: int) -> bool:
    """Compare as many bytes of two tensors, or of one at two places."""
    step = BLOCK // 2
    first, second = np.empty(min(step, size), np.uint8), np.empty(min(step, size), np.uint8)
    for lo in range(0, size, step):
        count = min(step, size - lo)
        one.read(first[:count], at + lo)
        other.read(second[:count], place + lo)
        if not np.array_equal(first[:count], second[:count]):
            return False
    return True


def _any_order(stored: Stored, descriptor: int) -> Reader:
    """Return what reads a tensor's bytes in any order: one that is compressed is inflated into memory for it."""
    reader = reader_of(descriptor, stored.entry)
    if stored.entry.packed is None:
        return reader
    raw = np.empty(stored.entry.nbytes, np.uint8)
    reader.read(raw, 0)
    return MemoryReader(raw)


def equal_rows(stored: Stored, descriptor: int, row_hashes: np.ndarray) -> Equal:
    """Find the equal ones of rows whose hashes are known: indices of the first axis of the bytes' order."""
    order = np.argsort(row_hashes, kind="stable")
    begins = np.flatnonzero(np.diff(row_hashes[order], prepend=~row_hashes[order[:1]]))
    sizes = np.diff(begins, append=len(order))
    many = sizes > 1
    alike = [order[at : at + size].tolist() for at, size in zip(begins[many], sizes[many], strict=True)]
    if not alike:
        return []
    size = stored.row * stored.kind.itemsize
    reader = _any_order(stored, descriptor)
    found = []
    while alike:
        first, *others = alike.pop()
        if _is_constant(stored, reader, first * size, size):
            # Others of its hash may be no constants, and equal to each other.
            others = [row for row in others if not _is_constant(stored, reader, row * size, size)]
            alike += [others] if len(others) > 1 else []
            continue
        same = [row for row in others if same_bytes(reader, first * size, reader, row * size, size)]
        different = sorted(set(others).difference(same))
        if len(different) > 1:
            alike.append(different)
        if same:
            found.append([first, *same])
    return sorted(found)


def _is_constant(stored: Stored, reader: Reader, place: int, size: int) -> bool:
    """Tell whether all elements of some bytes of a tensor are one number."""
    word = None
    for lo in range(0, size, BLOCK):
        raw = np.empty(min(BLOCK, size - lo), np.uint8)
        reader.read(raw, place + lo)
        words = _without_zeros_sign(raw.view(_WORD[stored.kind.itemsize]), stored)
        word = words[0] if word is None else word
        if (words != word).any():
            return False
    return True


def _without_zeros_sign(words: np.ndarray, stored: Stored) -> np.ndarray:
    """Write -0 as 0: they are one number. The words of other numbers stay."""
    negative = 0x80 if stored.entry.swapped else 1 << (8 * words.itemsize - 1)
    return np.where(words == words.dtype.type(negative), words.dtype.type(0), words)


class _Walk:
    """A way over outer x inner elements of slices: at first over few of them, and then over as many as a piece has."""

    def __init__(self, outer: int, inner: int, itemsize: int) -> None:
        self.outer, self.inner, self.itemsize = outer, inner, itemsize
        self.a = self.b = 0
        self.most = FIRST

    def step(self, slices: int) -> tuple[range, range]:
        """Tell the next elements of as many slices as are left."""
        each = max(1, self.most // (slices * self.itemsize))
        self.most = min(2 * self.most, BLOCK)
        a, b = self.a, self.b
        if b or each < self.inner:
            end = min(b + each, self.inner)
            self.a, self.b = (a + 1, 0) if end == self.inner else (a, end)
            return range(a, a + 1), range(b, end)
        self.a = min(a + each // self.inner, self.outer)
        return range(a, self.a), range(self.inner)


def equal_along(stored: Stored, descriptor: int, axis: int) -> Equal:
    """Find the equal slices along an axis of the bytes' order, each at one index of it.

    Nearly all slices differ in their first elements: only those that are still equal to another are read on.
    """
    shape = stored.shape
    outer, count, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    itemsize = stored.kind.itemsize
    reader = reader_of(descriptor, stored.entry)
    left, groups = np.arange(count), np.zeros(count, np.int64)
    firsts = np.zeros(count, _WORD[itemsize])
    constant = np.ones(count, bool)
    begun = False
    walk = _Walk(outer, inner, itemsize)
    while walk.a < outer:
        a, b = walk.step(len(left))
        block = np.empty((len(a), len(left), len(b)), stored.kind)
        take(reader, stored.entry, (outer, count, inner), (a, left, b), block, lambda each: each)
        slices = np.ascontiguousarray(block.transpose(1, 0, 2)).reshape(len(left), -1)
        words = slices.view(_WORD[itemsize])
        plain = np.where(words == words.dtype.type(1 << (8 * itemsize - 1)), words.dtype.type(0), words)
        firsts = firsts if begun else plain[:, 0]
        constant &= (plain == firsts[:, None]).all(axis=1)
        begun = True
        raw = slices.view(np.uint8).reshape(len(left), -1)
        # Different hashes are different slices; the few of equal hashes are told apart by their bytes.
        kept = _repeated(np.stack([groups.view(np.uint64), _long_hashes(raw)], axis=1).view(np.uint8))[0]
        left, groups, firsts, constant, raw = (each[kept] for each in (left, groups, firsts, constant, raw))
        kept, named = _repeated(np.concatenate([groups[:, None].view(np.uint8), raw], axis=1))
        left, groups, firsts, constant = left[kept], named, firsts[kept], constant[kept]
        if not len(left):
            return []
    found: dict[int, list[int]] = {}
    for index, group, same in zip(left.tolist(), groups.tolist(), constant.tolist(), strict=True):
        if not same:
            found.setdefault(group, []).append(index)
    return sorted(group for group in found.values() if len(group) > 1)


def _long_hashes(raw: np.ndarray) -> np.ndarray:
    """Hash rows of bytes, which may be longer than a piece when there is but one of them."""
    found = hashes(raw[:, :BLOCK])
    for lo in range(BLOCK, raw.shape[1], BLOCK):
        found = found * np.uint64(0x9E3779B97F4A7C15) + hashes(raw[:, lo : lo + BLOCK])
    return found


def _repeated(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tell which rows of bytes are there more than once, and for each of these the number of its kind."""
    if not len(rows):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    kinds = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))).ravel()
    _, named, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    named = named.reshape(-1)
    kept = np.flatnonzero(counts[named] > 1)
    return kept, named[kept].astype(np.int64)
