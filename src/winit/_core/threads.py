"""Run tasks over threads that live only as long as the call."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["available_threads", "run_tasks"]


def available_threads() -> int:
    """Count the processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1


def run_tasks(work: Callable[[Any], None], tasks: Sequence[Any], threads: int | None) -> None:
    """Do tasks in order over threads that live only as long as this call; the first error stops all and is raised.

    No thread, lock or pool is kept: nothing is left over for a fork to break. Nor does an interrupt leave a thread
    behind: the call ends when all have ended.
    """
    queue = deque(tasks)
    errors: list[BaseException] = []

    def worker(ended: threading.Event | None = None) -> None:
        try:
            while not errors:
                try:
                    task = queue.popleft()
                except IndexError:
                    break
                work(task)
        except BaseException as error:
            errors.append(error)
        finally:
            if ended is not None:
                ended.set()

    helpers: list[tuple[threading.Thread, threading.Event]] = []
    try:
        for _ in range(min(threads or available_threads(), len(queue)) - 1):
            ended = threading.Event()
            helper = threading.Thread(target=worker, args=(ended,), name="winit")
            helpers.append((helper, ended))
            try:
                helper.start()
            except RuntimeError:  # no more threads to be had: fewer will do
                helpers.pop()
                break
    except BaseException as error:
        errors.append(error)
    worker()
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
