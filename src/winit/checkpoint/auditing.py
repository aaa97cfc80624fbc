"""What is in a checkpoint, anyone's: one pass over its bytes, and the rules that say what is wrong."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from winit._core.checks import check_callable, check_path, check_threads
from winit._core.dtypes import FLOATS, element_dtype
from winit._core.keys import stream_key
from winit._core.layouts import roles
from winit._core.running import run_bounds
from winit._core.threads import run_tasks
from winit._files.collecting import Collected, collect
from winit._files.entries import Entry, File, file_stamp, open_files
from winit._files.reader import reader_of
from winit._files.storing import Counter, MadeOnce, Progress, writing_threads
from winit._files.storing import buffers as make_buffers
from winit._plans.param import Param
from winit._plans.plan import Plan, check_plan
from winit.checkpoint.changes import changes_of
from winit.checkpoint.duplicates import equal_along, equal_rows, same_bytes
from winit.checkpoint.findings import Audit, Change, TensorAudit, usual_stds
from winit.checkpoint.flags import Measured, drawn, flags_of, tells
from winit.checkpoint.spans import DrawnSpan, made_once
from winit.checkpoint.statistics import FRACTIONS, Gathered, Stored, Summary

__all__ = ["audit"]


def audit(
    path: str | os.PathLike[str],
    plan: Plan | None = None,
    *,
    seed: int | None = None,
    against: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Measure every tensor of a checkpoint in a stream, and flag what is wrong by stated rules.

    The rules are in docs/audit.md: nan, inf, zeroed, duplicate_rows, duplicate_units, equal_tensors, fan_off and
    untrained. The findings do not depend on the number of threads.

    Parameters
    ----------
    path : str or os.PathLike. A safetensors or npz file; the index of one in shards; or a folder with such an index,
        or with one safetensors file.
    plan : Plan or None. What the tensors are meant to be: standard deviations are measured against its laws, and it
        tells which axes are inputs and outputs.
    seed : int or None. The seed that the plan was drawn with, which must be given with a plan and not without one:
        elements are compared with what they were before training.
    against : str or os.PathLike or None. Another such checkpoint, from which changes are told.
    threads : int or None, the processors this process may use.
    progress : callable(bytes done, bytes in all) or None. Called from the reading threads, one at a time.

    Returns
    -------
    Audit : its tensors, flags, notes and changes; `ok` tells whether there are no flags.

    Raises
    ------
    OSError : a file cannot be read. ValueError : it is of another format, or broken, or was changed meanwhile; no
        tensor of it is in the plan. TypeError, ValueError : seed, threads, a plan without a seed, a seed without a
        plan.

    >>> import numpy as np, os, tempfile, winit
    >>> weight = winit.draw(winit.he_normal(), (64, 32), seed=0, name="fc")
    >>> weight[7] = weight[3]
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.npz")
    >>> np.savez(path, fc=weight)
    >>> [(flag.flag, flag.why) for flag in winit.checkpoint.audit(path).flags]
    [('duplicate_rows', 'one row equals an earlier one: rows 3 and 7 are equal')]

    """
    threads = check_threads(threads)
    path = check_path(path)
    check_callable(progress, "progress")
    if plan is not None:
        check_plan(plan)
        if seed is None:
            raise TypeError("seed must be given with a plan: the audit tells what training left as it was drawn")
    if seed is not None:
        stream_key(seed)
        if plan is None:
            raise TypeError("plan must be given with a seed: a seed alone determines no tensor")
    other = None if against is None else collect(check_path(against, "against"))
    collected = collect(path)
    stored = {} if plan is None else plan.stored
    tensors = [_Tensor(entry, stored.get(entry.name)) for entry in collected.entries.values()]
    if plan is not None and tensors and not any(tensor.param for tensor in tensors):
        raise ValueError(f"{path} has no tensor of a name and shape that the plan has")
    total = sum(tensor.entry.nbytes for tensor in tensors)
    shared = [] if other is None else [name for name in collected.entries if name in other.entries]
    counter = Counter(total + sum(collected.entries[name].nbytes for name in shared), progress)
    with ExitStack() as stack:
        descriptors = open_files(stack, collected.entries.values())
        measured = _measure(tensors, descriptors, plan, seed, threads, counter)
        _find_repeated(measured, descriptors, plan, threads)
        changes: tuple[Change, ...] | None = None
        if other is not None:
            others = open_files(stack, other.entries.values())
            changes = changes_of(collected.entries, descriptors, other.entries, others, threads, counter)
            _check_unchanged(others)
        _check_unchanged(descriptors)
    flags, notes = flags_of(measured)
    return Audit(
        tensors=tuple(_told(each, plan) for each in measured),
        flags=tuple(flags),
        notes=(*_notes(collected, plan), *notes),
        changes=changes,
        bytes=total,
    )


def _check_unchanged(descriptors: dict[File, int]) -> None:
    for file, descriptor in descriptors.items():
        if file_stamp(descriptor) != file.stamp:
            raise ValueError(f"{file.path} has changed while it was read; it must stay as it is meanwhile")


def _notes(collected: Collected, plan: Plan | None) -> Iterator[str]:
    """What the file and the plan have of each other; and what a shard has that its index does not name."""
    for entry in collected.beyond:
        yield f"{entry.name}: in {entry.file.path}, and not where the index says"
    if plan is None:
        return
    entries, stored = collected.entries, plan.stored
    counts = [
        (sum(name not in stored for name in entries), "are not in the plan"),
        (sum(name not in entries for name in stored), "of the plan are not in the file"),
        (
            sum(name in stored and entry.shape != stored[name].shape for name, entry in entries.items()),
            "differ in shape",
        ),
    ]
    yield from (f"tensors: {count:,} {what}" for count, what in counts if count)


class _Tensor:
    """A tensor of the file, and the plan's tensor of its name where that has its shape."""

    def __init__(self, entry: Entry, param: Param | None) -> None:
        self.entry, self.param = entry, None
        if param is not None and param.shape == entry.shape:
            # Narrow types are the float32 value, rounded: a file in another of them holds the same draw.
            rounded = {param.dtype, entry.dtype} <= set(FLOATS) - {"float64"}
            self.param = Param(param.shape, param.scheme, entry.dtype, param.layout) if rounded else param
        _, outs = _axes(entry, self.param)
        last = len(entry.shape) - 1
        split = 0 if last < 1 else last if 0 not in outs and last in outs else 1
        self.stored = Stored(entry, len(entry.shape) - split if entry.fortran and split else split)


def _axes(entry: Entry, param: Param | None) -> tuple[set[int], set[int]]:
    """The in and out axes of a tensor: its plan's, or else torch's, out first."""
    if len(entry.shape) < 2:
        return set(), set()
    layout = "oi" if param is None else param.layout
    _, ins, outs, _ = roles(entry.shape, layout)
    return ins, outs


def _whole(param: Param, key: tuple[int, int], threads: int | None) -> np.ndarray:
    """Draw a tensor whose file has the first axis run fastest, in that order."""
    values = np.empty(param.shape, element_dtype(param.dtype))
    run_bounds([param.bind(values, key)], threads)
    return np.ascontiguousarray(values.T).reshape(-1)


@dataclass
class _Task:
    """Pieces of a tensor that one thread reads: one, or all of a compressed one, which is read from its beginning."""

    at: int
    pieces: Sequence[tuple[int, int]]


class _Comparison:
    """What a tensor was when it was drawn, piece by piece, and how many elements still are so."""

    def __init__(self, tensor: _Tensor, plan: Plan, seed: int, pieces: int, threads: int | None) -> None:
        param = tensor.param
        assert param is not None
        self.name, self.param, self.same = tensor.entry.name, param, 0
        self.key = stream_key(seed, plan.key(self.name))
        if tensor.entry.fortran:
            self.made: MadeOnce | None = MadeOnce(partial(_whole, param, self.key, threads), pieces)
        else:
            self.made = made_once(param, self.key, pieces, threads)

    def count(self, block: np.ndarray, lo: int, buffer: np.ndarray) -> int:
        """Count the elements of a piece that are what the plan draws, bit by bit."""
        DrawnSpan(self.name, self.param, self.key, lo, lo + len(block), 0, self.made).draw(buffer)
        word = f"u{block.itemsize}"
        return int(np.count_nonzero(buffer[: block.nbytes].view(word) == block.view(word)))


def _measure(
    tensors: Sequence[_Tensor],
    descriptors: dict[File, int],
    plan: Plan | None,
    seed: int | None,
    threads: int | None,
    counter: Counter,
) -> list[Measured]:
    """Read all tensors once."""
    tasks, left = [], []
    for at, tensor in enumerate(tensors):
        pieces = tensor.stored.pieces()
        left.append(len(pieces))
        tasks += [_Task(at, [piece]) for piece in pieces] if tensor.entry.packed is None else [_Task(at, pieces)]
    gathered: dict[int, Gathered] = {}
    comparisons: dict[int, _Comparison] = {}
    found: dict[int, Measured] = {}
    lock = counter.lock
    buffers = make_buffers(writing_threads(threads), 2)

    def begin(at: int) -> tuple[Gathered, _Comparison | None]:
        tensor = tensors[at]
        with lock:
            if at not in gathered:
                gathered[at] = Gathered(tensor.stored)
                law = None if tensor.param is None else tensor.param.law()
                comparable = tensor.param is not None and tensor.param.dtype == tensor.entry.dtype
                if comparable and drawn(law):
                    assert plan is not None
                    assert seed is not None
                    comparisons[at] = _Comparison(tensor, plan, seed, left[at], threads)
            return gathered[at], comparisons.get(at)

    def end(at: int) -> None:
        tensor, comparison = tensors[at], comparisons.pop(at, None)
        unchanged = None if comparison is None else comparison.same / tensor.stored.size
        found[at] = Measured(tensor.stored, gathered.pop(at).summary(), tensor.param, unchanged=unchanged)

    def work(task: _Task) -> None:
        tensor = tensors[task.at]
        entry, kind = tensor.entry, tensor.stored.kind
        gathering, comparison = begin(task.at)
        reader = reader_of(descriptors[entry.file], entry)
        own = buffers.pop()  # fresh memory for each piece would take longer than what is done with it
        for lo, hi in task.pieces:
            raw = own[0][: (hi - lo) * kind.itemsize]
            reader.read(raw, lo * kind.itemsize)
            block = raw.view(kind)
            block = block.byteswap() if entry.swapped else block
            same = 0 if comparison is None else comparison.count(block, lo, own[1])
            gathering.add(block, lo)
            counter.add(len(raw))
            with lock:
                left[task.at] -= 1
                last = left[task.at] == 0
                if comparison is not None:
                    comparison.same += same
            if last:
                end(task.at)
        buffers.append(own)

    run_tasks(work, tasks, writing_threads(threads))
    for at, tensor in enumerate(tensors):
        if at not in found:  # one of no elements
            found[at] = Measured(tensor.stored, Summary(), tensor.param)
    return [found[at] for at in range(len(tensors))]


def _find_repeated(
    measured: Sequence[Measured], descriptors: dict[File, int], plan: Plan | None, threads: int | None
) -> None:
    """Find equal rows and units within tensors, and then equal tensors."""

    def look(each: Measured) -> None:
        stored, summary = each.stored, each.summary
        descriptor = descriptors[stored.entry.file]
        ins, outs = _axes(stored.entry, each.param)
        for axis in (0, *sorted((ins | outs) - {0})):
            count = each.shape[axis]
            if not tells(count, stored.size // max(count, 1), summary.collision, len(measured)):
                continue
            own = len(each.shape) - 1 - axis if stored.entry.fortran else axis
            if own == 0 and summary.row_hashes is None:
                continue
            if own == 0:
                assert summary.row_hashes is not None
                groups = equal_rows(stored, descriptor, summary.row_hashes)
            else:
                groups = equal_along(stored, descriptor, own)
            repeated = sum(len(group) - 1 for group in groups)
            pair = (groups[0][0], groups[0][1]) if groups else (0, 0)
            if axis == 0:
                each.equal_rows, each.rows_at = repeated, pair
            else:
                each.units_at = each.units_at if each.equal_units else pair
                each.equal_units = (each.equal_units or 0) + repeated

    run_tasks(look, [each for each in measured if len(each.shape) > 1 and each.judged], writing_threads(threads))
    groups: dict[tuple[Any, ...], list[Measured]] = {}
    shapes: dict[tuple[Any, ...], int] = {}
    for each in measured:
        entry = each.stored.entry
        kind = (entry.dtype, each.shape, entry.fortran, entry.swapped)
        shapes[kind] = shapes.get(kind, 0) + 1
        plain = each.stored.opaque or (each.judged and not (each.broadcast and not each.drawn))
        if plain and not (each.summary.ascending and not each.drawn) and each.summary.zeros < each.stored.size:
            groups.setdefault((kind, each.summary.digest), []).append(each)
    for (kind, _), group in groups.items():
        for at, each in enumerate(group):
            collision = 2.0**-4 if each.stored.opaque else each.summary.collision
            if at and tells(shapes[kind], each.stored.size, collision, len(measured)):
                each.equal_to = next((one.name for one in group[:at] if _same(one, each, descriptors, plan)), None)


def _same(one: Measured, other: Measured, descriptors: dict[File, int], plan: Plan | None) -> bool:
    """Compare two tensors of equal hashes byte by byte; those that a plan draws from one key are meant to be equal."""
    if plan is not None and one.drawn and other.drawn and plan.key(one.name) == plan.key(other.name):
        return False
    readers = [reader_of(descriptors[each.stored.entry.file], each.stored.entry) for each in (one, other)]
    return same_bytes(readers[0], 0, readers[1], 0, one.stored.entry.nbytes)


def _told(each: Measured, plan: Plan | None) -> TensorAudit:
    """What a caller is told of one tensor."""
    stored, summary = each.stored, each.summary
    quantiles = None
    if summary.quantiles is not None:
        quantiles = {f"{fraction:.0%}": value for fraction, value in zip(FRACTIONS, summary.quantiles, strict=True)}
    planned = None
    if each.param is not None and each.drawn:
        std = each.param.law().moments().std
        planned = std if math.isfinite(std) else None
    return TensorAudit(
        name=each.name,
        dtype=stored.entry.dtype,
        shape=each.shape,
        elements=stored.entry.nbytes if stored.opaque and not each.shape else math.prod(each.shape),
        mean=summary.mean,
        std=summary.std,
        min=summary.least,
        max=summary.most,
        quantiles=quantiles,
        histogram=None if summary.histogram is None else summary.histogram._asdict(),
        zeros=summary.zeros,
        nan=summary.nan,
        inf=summary.inf,
        kurtosis=summary.kurtosis,
        stable_rank=summary.stable_rank,
        equal_rows=each.equal_rows,
        equal_units=each.equal_units,
        equal_to=each.equal_to,
        laws=usual_stds(each.shape, "oi" if each.param is None else each.param.layout)
        if stored.is_float and len(each.shape) > 1
        else None,
        planned_std=planned,
        unchanged=each.unchanged,
    )
