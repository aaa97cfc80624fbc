"""Run what is bound to its end: small work in the caller's thread, large work as ranges over all threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from winit._core.bounds import Bound, Destination, Whole
from winit._core.dtypes import WORDS
from winit._core.threads import run_tasks

if TYPE_CHECKING:
    from winit._core.laws import Law

__all__ = ["INLINE", "OWN_THREADS", "RANGE", "ByHost", "run_bounds"]

# Elements. A range of this many float32 values takes a thread about a millisecond, long beside the microseconds of
# handing it over; below twice that, starting threads costs more than they save.
RANGE = 1 << 20
INLINE = 1 << 18


def run_bounds(bounds: Sequence[Bound], threads: int | None) -> None:
    """Fill every destination, as one pool of ranges; nothing is kept when it ends."""
    ranged = []
    for bound in bounds:
        if isinstance(bound, OWN_THREADS):
            bound.run(0, bound.size, threads)
        elif getattr(bound, "queues", False):
            bound.run(0, bound.size)
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


class ByHost:
    """A law that a device has no kernel for, bound to a DeviceArray: all is drawn on the CPU, and copied."""

    def __init__(self, to: Destination, law: Law) -> None:
        self.to, self.law, self.size = to, law, to.out.size

    def run(self, lo: int, hi: int, threads: int | None = None) -> None:
        to, out = self.to, cast(Any, self.to.out)
        words = WORDS.get(to.dtype, np.dtype(to.dtype))
        host = np.empty(out.shape, words) if to.scale is None else out.to_host().view(words)
        run_bounds([self.law.bind(Destination(host, to.dtype, to.key, to.shape, to.box, to.scale))], threads)
        out.from_host(host)


OWN_THREADS = (Whole, ByHost)  # what runs in one call, with threads of its own
