"""What became of each tensor from one checkpoint to another, by how much."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from winit import _kernels
from winit._core.threads import run_tasks
from winit._files.entries import Entry, File
from winit._files.reader import BLOCK, MemoryReader, Reader, reader_of
from winit._files.storing import Counter, writing_threads
from winit.checkpoint.findings import Change
from winit.checkpoint.statistics import Stored, numbers_of

__all__ = ["changes_of"]


class _Part(NamedTuple):
    """Sums over some elements: whether all are equal, the largest change, and products of here, there and change."""

    equal: bool
    largest: float
    change: float
    here: float
    there: float
    both: float


@dataclass
class _Pair:
    """A tensor that is in both files, and what its parts have told."""

    here: Stored
    there: Stored
    parts: dict[int, _Part] = field(default_factory=dict)


@dataclass
class _Task:
    name: str
    elements: list[tuple[int, int]]


def changes_of(
    entries: Mapping[str, Entry],
    descriptors: Mapping[File, int],
    others: Mapping[str, Entry],
    other_descriptors: Mapping[File, int],
    threads: int | None,
    counter: Counter,
) -> tuple[Change, ...]:
    """Compare all tensors of two checkpoints, by value where their dtypes differ."""
    pairs: dict[str, _Pair] = {}
    tasks = []
    for name, entry in entries.items():
        if name not in others:
            continue
        pair = _Pair(Stored(entry), Stored(others[name]))
        if _differ(pair) is not None:
            counter.add(entry.nbytes)
            continue
        pairs[name] = pair
        step = BLOCK // 8
        elements = [(lo, min(lo + step, pair.here.size)) for lo in range(0, pair.here.size, step)]
        apart = _in_order(pair)
        tasks += [_Task(name, [each]) for each in elements] if not apart else [_Task(name, elements)]
    lock = threading.Lock()

    def work(task: _Task) -> None:
        pair = pairs[task.name]
        here = _reader(pair.here, descriptors, False)
        there = _reader(pair.there, other_descriptors, pair.here.entry.fortran != pair.there.entry.fortran)
        for lo, hi in task.elements:
            read = [_read(reader, stored, lo, hi) for reader, stored in ((here, pair.here), (there, pair.there))]
            part = _compare(read[0], pair.here, read[1], pair.there)
            with lock:
                pair.parts[lo] = part
            counter.add((hi - lo) * pair.here.kind.itemsize)

    run_tasks(work, tasks, writing_threads(threads))
    found = []
    for name, entry in entries.items():
        if name not in others:
            found.append(Change(name, "only here"))
        elif name not in pairs:
            found.append(Change(name, _differ(_Pair(Stored(entry), Stored(others[name]))) or ""))
        else:
            found.append(_change(name, pairs[name]))
    return (*found, *(Change(name, "only there") for name in others if name not in entries))


def _in_order(pair: _Pair) -> bool:
    """Whether a pair is read from its beginning to its end: one is compressed, or their orders differ."""
    one, other = pair.here.entry, pair.there.entry
    return one.packed is not None or other.packed is not None or one.fortran != other.fortran


def _differ(pair: _Pair) -> str | None:
    """Say why two tensors cannot be compared, if they cannot."""
    here, there = pair.here.entry, pair.there.entry
    if here.shape != there.shape:
        sizes = ["x".join(map(str, each.shape)) or "scalar" for each in (here, there)]
        return f"shape {sizes[0]}, there {sizes[1]}"
    if here.dtype != there.dtype and (pair.here.opaque or pair.there.opaque):
        return f"{here.dtype}, there {there.dtype}"
    return None


def _reader(stored: Stored, descriptors: Mapping[File, int], turned: bool) -> Reader:
    """Return what reads a tensor; `turned`, in the other order, for which all of it is read into memory."""
    reader = reader_of(descriptors[stored.entry.file], stored.entry)
    if not turned:
        return reader
    raw = np.empty(stored.entry.nbytes, np.uint8)
    reader.read(raw, 0)
    return MemoryReader(np.ascontiguousarray(raw.view(stored.kind).reshape(stored.shape).T))


def _read(reader: Reader, stored: Stored, lo: int, hi: int) -> np.ndarray:
    raw = np.empty((hi - lo) * stored.kind.itemsize, np.uint8)
    reader.read(raw, lo * stored.kind.itemsize)
    block = raw.view(stored.kind)
    return block.byteswap() if stored.entry.swapped else block


def _compare(here: np.ndarray, one: Stored, there: np.ndarray, other: Stored) -> _Part:
    same_type = one.entry.dtype == other.entry.dtype
    equal = same_type and np.array_equal(here.view(np.uint8), there.view(np.uint8))
    if one.opaque:
        return _Part(equal, math.nan, math.nan, math.nan, math.nan, math.nan)
    with _kernels.default_float_mode(), np.errstate(all="ignore"):
        a, b = numbers_of(here, one.entry.dtype), numbers_of(there, other.entry.dtype)
        if not same_type:
            equal = np.array_equal(a, b, equal_nan=True)
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.all():
            a, b = a[finite], b[finite]
        change = a - b
        sums = [float(np.einsum("i,i->", x, y)) for x, y in ((change, change), (a, a), (b, b), (a, b))]
        return _Part(equal, float(np.abs(change).max(initial=0.0)), *sums)


def _change(name: str, pair: _Pair) -> Change:
    parts = [pair.parts[lo] for lo in sorted(pair.parts)]
    here, there = pair.here.entry.dtype, pair.there.entry.dtype
    what = "equal" if all(part.equal for part in parts) else "changed"
    what += f", {here} here and {there} there" if here != there else ""
    if pair.here.opaque or not parts:
        return Change(name, what)
    change, one, other, both = (math.fsum(getattr(part, sums) for part in parts) for sums in _Part._fields[2:])
    return Change(
        name,
        what,
        largest=max(part.largest for part in parts),
        relative=math.sqrt(change / other) if other else None,
        cosine=both / math.sqrt(one * other) if one and other else None,
    )
