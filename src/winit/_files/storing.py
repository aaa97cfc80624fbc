"""Pieces of a file, made and written to their places by all threads: memory does not grow with the file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from winit._core.threads import available_threads, run_tasks
from winit._files.appearing import Target, appearing, write_at

__all__ = ["SPAN", "Counter", "MadeOnce", "Progress", "Span", "buffers", "store", "writing_threads"]

SPAN = 4 << 20  # bytes that a thread makes in its buffer before it writes them to their place
MAX_THREADS = 32  # more would not write faster, and their buffers would be most of the memory

Progress = Callable[[int, int], None]


class Span(Protocol):
    """What one thread writes without a pause: pieces of a tensor, each with its place in the file."""

    def pieces(self, buffer: Any) -> Iterator[tuple[int, memoryview]]:
        """Make the pieces one by one, in a byte buffer of SPAN bytes or elsewhere."""
        ...


class MadeOnce:
    """An array that spans share: made by the first that enters, and kept until as many as there are have left."""

    def __init__(self, make: Callable[[], np.ndarray], spans: int) -> None:
        self.make, self.left = make, spans
        self.values: np.ndarray | None = None
        self.lock = threading.Lock()

    def __enter__(self) -> np.ndarray:
        with self.lock:  # the others wait: making it takes all threads, or the file's
            if self.values is None:
                self.values = self.make()
            return self.values

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.left -= 1
            if self.left == 0:
                self.values = None


class Counter:
    """Adds up the bytes done and passes them on, one thread at a time."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self.progress, self.lock = 0, total, progress, threading.Lock()
        self.add(0)

    def add(self, count: int) -> None:
        """Add bytes that are done."""
        if self.progress is not None:
            with self.lock:
                self.done += count
                self.progress(self.done, self.total)


def writing_threads(threads: int | None) -> int:
    """Tell how many threads make spans."""
    return min(threads or available_threads(), MAX_THREADS)


def buffers(threads: int, spans: int, each: int) -> deque[list[Any]]:
    """Allocate the buffers of all threads that will have a span, `each` a thread."""
    return deque([np.empty(SPAN, np.uint8) for _ in range(each)] for _ in range(max(1, min(threads, spans))))


def store(
    target: Target,
    head: bytes,
    spans: Sequence[Span],
    nbytes: int,
    threads: int | None,
    progress: Progress | None,
) -> None:
    """Write a header and the spans of nbytes that follow it, whole or not at all."""
    own_buffers = buffers(writing_threads(threads), len(spans), 1)
    counter = Counter(nbytes, progress)
    try:
        with appearing(target, len(head) + nbytes) as descriptor:
            write_at(descriptor, memoryview(head), 0)

            def work(span: Span) -> None:
                own = own_buffers.pop()
                for place, data in span.pieces(own[0]):
                    write_at(descriptor, data, place)
                    counter.add(len(data))
                own_buffers.append(own)

            run_tasks(work, spans, writing_threads(threads))
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = target.typed
        raise
