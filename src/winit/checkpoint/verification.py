"""Every element of safetensors files recomputed, and compared bit by bit with what its plan and seed say."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from winit._core.checks import check_callable, check_path, check_threads, shown
from winit._core.keys import STREAM_VERSION, stream_key
from winit._core.threads import run_tasks
from winit._files.collecting import Collected, collect
from winit._files.entries import open_files
from winit._files.reader import read_at
from winit._files.safetensors_header import CODES
from winit._files.storing import Counter, Progress, writing_threads
from winit._files.storing import buffers as make_buffers
from winit._plans.plan import Plan, check_plan
from winit.checkpoint.sharding import INDEX, others_of, unindexed_files
from winit.checkpoint.spans import DrawnSpan, spans_of

__all__ = ["Verification", "verify"]


@dataclass(frozen=True)
class Verification:
    """What verify found. The file is what its plan and seed say if `ok`.

    broken : files that are missing or cannot be read, and what is wrong with each; their tensors are missing too.

    unexpected : tensors that the plan lacks; and those that a shard holds beyond what its index says, with the shard.

    notes : what the file's metadata says otherwise than the plan, the seed and the stream version, such as "its
        metadata says seed 3, not 4". Elements alone decide `ok`: a note is no difference.
    """

    differ: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    malformed: dict[str, str]
    metadata: dict[str, str]
    tensors: int
    bytes: int
    notes: tuple[str, ...] = ()
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every tensor is there, of the right dtype and shape, and equal bit by bit, and no other."""
        return not (self.differ or self.missing or self.unexpected or self.malformed or self.broken)


def verify(
    path: str | os.PathLike[str],
    plan: Plan,
    *,
    seed: int,
    threads: int | None = None,
    progress: Progress | None = None,
    notes: Callable[[str], None] | None = None,
) -> Verification:
    """Recompute every element of a safetensors or npz file in a stream and compare it bit by bit.

    Of a folder that several processes write, what is not there yet is missing and the rest is compared.

    Parameters
    ----------
    path : str or os.PathLike. A safetensors file; the index of one in shards; a folder with such an index, with files
        called as winit calls them, or with one safetensors file; an npz file that is not compressed.
    plan, seed, threads, progress : as in write.
    notes : callable(str) or None. Called with each of Verification.notes before any element is recomputed.

    Returns
    -------
    Verification : which tensors differ, are missing, unexpected, or of another dtype or shape.

    Raises
    ------
    OSError : the file cannot be read. ValueError : it is not a safetensors file. TypeError, ValueError : seed, threads.

    """
    threads = check_threads(threads)
    stream_key(seed)
    path = check_path(path)
    check_plan(plan)
    check_callable(progress, "progress")
    check_callable(notes, "notes")
    broken: dict[str, str] = {}
    unindexed = unindexed_files(path)
    if unindexed is None:
        collected = collect(path, broken=broken)
    else:
        collected = collect(unindexed.there)
        broken |= dict.fromkeys((*unindexed.lacking, INDEX), "missing")
    broken |= _strays(path, collected)
    entries = collected.entries
    said = _contradictions(collected.metadata, plan, seed)
    if notes is not None:
        for note in said:
            notes(note)
    malformed, places = {}, {}
    for name, param in plan.stored.items():
        entry = entries.get(name)
        if entry is None:
            continue
        found = CODES.get(entry.dtype, entry.dtype), list(entry.shape)
        expected = CODES[param.dtype], list(param.shape)
        if found != expected:
            malformed[name] = "is {} {}, expected {} {}".format(*found, *expected)
        elif entry.packed is not None or entry.fortran or entry.swapped:
            how = "compressed" if entry.packed is not None else "of the other byte order or order of axes"
            malformed[name] = f"is {how}, and is not compared"
        else:
            places[name] = entry.place
    with ExitStack() as stack:
        descriptors = open_files(stack, (entries[name] for name in places))
        buffers = make_buffers(writing_threads(threads), 2)
        total = sum(plan[name].nbytes for name in places)
        counter = Counter(total, progress)
        differ = set()

        def work(span: DrawnSpan) -> None:
            own = buffers.pop()
            expected = span.draw(own[0])
            found = memoryview(own[1])[: len(expected)]
            file = entries[span.name].file
            read_at(descriptors[file], found, span.place, file.path)
            if not np.array_equal(np.frombuffer(expected, np.uint8), np.frombuffer(found, np.uint8)):
                differ.add(span.name)
            buffers.append(own)
            counter.add(len(expected))

        run_tasks(work, spans_of(plan, seed, places, threads), writing_threads(threads))
    return Verification(
        differ=tuple(name for name in plan.stored if name in differ),
        missing=tuple(name for name in plan.stored if name not in entries),
        unexpected=(
            *(name for name in entries if name not in plan.stored),
            *(f"{name} (in the index alone)" for name in collected.placed if name not in {*entries, *plan.stored}),
            *(f"{entry.name} ({Path(entry.file.path).name})" for entry in collected.beyond),
        ),
        malformed=malformed,
        metadata=collected.metadata,
        tensors=len(places),
        bytes=total,
        notes=said,
        broken={Path(file).name: what for file, what in broken.items()},
    )


def _strays(path: str, collected: Collected) -> dict[str, str]:
    """Name the files beside an index that readers may take in the place of those it names, and a wrong sum."""
    found = {}
    if Path(path).is_dir() and collected.placed:
        named = {Path(file).name for file in collected.placed.values()}
        for name in others_of(os.listdir(path), max(len(named), 2)):  # noqa: PTH208
            if name not in named:
                found[name] = "is not in the index, and readers may take it for the checkpoint"
    total, expected = collected.total_size, sum(entry.nbytes for entry in collected.entries.values())
    if total is not None and collected.placed.keys() == collected.entries.keys() and total != expected:
        found[INDEX] = f"its total_size is {shown(total, 60)}, and its tensors have {expected} bytes"
    return found


def _contradictions(metadata: dict[str, str], plan: Plan, seed: int) -> tuple[str, ...]:
    """Say what a file's metadata, where it says anything, says otherwise than a plan, a seed and this stream."""
    expected = [
        ("winit.seed", str(seed), "its metadata says seed {}, not {}"),
        ("winit.stream", str(STREAM_VERSION), "its metadata says stream version {}, and this is {}"),
        ("winit.plan", plan.digest, "its plan's digest is {}, the plan's is {}"),
    ]
    return tuple(
        text.format(metadata[key], value) for key, value, text in expected if metadata.get(key, value) != value
    )
