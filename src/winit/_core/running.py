"""Run what is bound to its end: small work in the caller's thread, large work as ranges over all threads."""

from __future__ import annotations

from collections.abc import Sequence

from winit._core.bounds import Bound, Whole
from winit._core.threads import run_tasks

__all__ = ["INLINE", "RANGE", "run_bounds"]

# Elements. A range of this many float32 values takes a thread about a millisecond, long beside the microseconds of
# handing it over; below twice that, starting threads costs more than they save.
RANGE = 1 << 20
INLINE = 1 << 18


def run_bounds(bounds: Sequence[Bound], threads: int | None) -> None:
    """Fill every destination, as one pool of ranges; nothing is kept when it ends."""
    ranged = []
    for bound in bounds:
        if isinstance(bound, Whole):  # products of matrices have threads of their own
            bound.run(0, bound.size, threads)
        else:
            ranged.append(bound)
    if sum(bound.size for bound in ranged) <= INLINE or threads == 1:
        for bound in ranged:
            bound.run(0, bound.size)
        return
    tasks: list[list[tuple[Bound, int, int]]] = []
    batch: list[tuple[Bound, int, int]] = []
    held = 0
    for bound in ranged:
        if not getattr(bound, "by_units", True):
            tasks.append([(bound, 0, bound.size)])
            continue
        lo = 0
        while lo < bound.size:
            hi = min(bound.size, lo + RANGE - held)
            batch.append((bound, lo, hi))
            held += hi - lo
            lo = hi
            if held == RANGE:
                tasks.append(batch)
                batch, held = [], 0
    if batch:
        tasks.append(batch)

    def work(task: list[tuple[Bound, int, int]]) -> None:
        for bound, lo, hi in task:
            bound.run(lo, hi)

    run_tasks(work, tasks, threads)
