"""Run tasks over threads that live only as long as the call."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from winit import _kernels

__all__ = ["available_threads", "run_tasks"]


def available_threads() -> int:
    """Count the processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1


class _Taken:
    """Tasks that are made one by one, as a thread takes them."""

    def __init__(self, tasks: Iterable[Any]) -> None:
        self._tasks, self._lock = iter(tasks), threading.Lock()

    def popleft(self) -> Any:
        """Return the next task; IndexError after the last, as of a deque."""
        with self._lock:
            try:
                for task in self._tasks:
                    return task
            except IndexError as error:  # not to be taken for the end
                raise RuntimeError(f"a task could not be made: {error}") from error
        raise IndexError


def run_tasks(work: Callable[[Any], None], tasks: Iterable[Any], threads: int | None) -> None:
    """Do tasks in order over threads that live only as long as this call; the first error stops all and is raised.

    Tasks that are no sequence are made as they are taken, by one thread at a time. No thread, lock or pool is kept:
    nothing is left over for a fork to break. Nor does an interrupt leave a thread behind: the call ends when all have
    ended.
    """
    most = threads or available_threads()
    queue: deque[Any] | _Taken
    if isinstance(tasks, Sequence):
        queue = deque(tasks)
        most = min(most, len(tasks))
    else:
        queue = _Taken(tasks)
    errors: list[BaseException] = []
    # After a pause a virtual machine's kernel starts helpers on the caller's own processor, for milliseconds.
    start = _kernels.thread_start() if most > 1 else None

    def worker(ended: threading.Event | None = None) -> None:
        try:
            if start is not None:
                start.begin(ended is not None)
            while not errors:
                try:
                    task = queue.popleft()
                except IndexError:
                    break
                work(task)
        except BaseException as error:
            errors.append(error)
        finally:
            if start is not None:
                start.end()
            if ended is not None:
                ended.set()

    helpers: list[tuple[threading.Thread, threading.Event]] = []
    try:
        for _ in range(most - 1):
            ended = threading.Event()
            helper = threading.Thread(target=worker, args=(ended,), name="winit")
            helpers.append((helper, ended))
            try:
                helper.start()
            except RuntimeError:  # no more threads to be had: fewer will do
                helpers.pop()
                break
        worker()
    except BaseException as error:  # an interrupt, between two lines of worker's too
        errors.append(error)
    while True:
        try:
            for helper, ended in helpers:
                # Unlike join, wait can be interrupted and asked again. A helper that has no identity after a second
                # was interrupted before it started, and never will.
                while not ended.wait(1.0) and helper.ident is not None:
                    pass
                if helper.ident is not None:
                    helper.join()
            break
        except BaseException as error:
            errors.append(error)
    if errors:  # an interrupt may come with errors of what it interrupted
        raise next((error for error in errors if not isinstance(error, Exception)), errors[0])
