"""Pieces of a file, made and written to their places by all threads: memory does not grow with the file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice
from typing import Any, Protocol

import numpy as np

from winit._core.threads import available_threads, run_tasks
from winit._files.appearing import Target, appearing, write_at

__all__ = [
    "SPAN",
    "Counter",
    "Filed",
    "MadeOnce",
    "Progress",
    "Span",
    "buffers",
    "made_in_order",
    "store",
    "writing_threads",
]

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
    """Adds up the bytes done and passes them on, one thread at a time; done : those that are done beforehand."""

    def __init__(self, total: int, progress: Progress | None, done: int = 0) -> None:
        self.done, self.total, self.progress, self.lock = done, total, progress, threading.Lock()
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


def buffers(threads: int, each: int) -> deque[list[Any]]:
    """Allocate the buffers of all threads, `each` a thread."""
    return deque([np.empty(SPAN, np.uint8) for _ in range(each)] for _ in range(threads))


class Filed:
    """A file that is to appear: its header, and the spans of the nbytes that follow.

    The thread that takes its first span opens it, and the one that writes its last byte gives it its name: while that
    one waits for the disk, the others make the next file's.
    """

    def __init__(self, target: Target, head: bytes, spans: Iterable[Span], nbytes: int) -> None:
        self.target, self.head, self.spans, self.nbytes = target, head, spans, nbytes
        self._lock = threading.Lock()
        self._left = nbytes
        self._appearing: AbstractContextManager[int] | None = None
        self._descriptor = -1

    def open(self) -> int:
        """Return the file's descriptor."""
        with self._lock:
            if self._appearing is None:
                self._appearing = appearing(self.target, len(self.head) + self.nbytes)
                self._descriptor = self._appearing.__enter__()
                write_at(self._descriptor, memoryview(self.head), 0)
            return self._descriptor

    def wrote(self, count: int) -> None:
        """Count bytes that are written; the file takes its name after the last."""
        with self._lock:
            self._left -= count
            if self._left:
                return
            ends, self._appearing = self._appearing, None
        assert ends is not None
        ends.__exit__(None, None, None)

    def fail(self, error: BaseException) -> None:
        """Leave nothing of a file that was opened and has no name yet."""
        if self._appearing is not None:
            with suppress(BaseException):
                self._appearing.__exit__(type(error), error, error.__traceback__)


def _tasks(files: Iterable[Filed]) -> Iterator[tuple[Filed, Span | None]]:
    """Give the spans of all files, as they are asked for: a list of them would grow with the files."""
    for file in files:
        if file.nbytes == 0:
            yield file, None
        for span in file.spans:
            yield file, span


def store(files: Sequence[Filed], threads: int | None, counter: Counter) -> None:
    """Write files, each whole or not at all, by all threads; those that are whole stay when a later one fails."""
    count = min(writing_threads(threads), sum(-(-file.nbytes // SPAN) + 1 for file in files))
    own_buffers = buffers(count, 1)

    def work(task: tuple[Filed, Span | None]) -> None:
        file, span = task
        try:
            descriptor = file.open()
            if span is None:
                file.wrote(0)
                return
            own = own_buffers.pop()
            for place, data in span.pieces(own[0]):
                write_at(descriptor, data, place)
                counter.add(len(data))
                file.wrote(len(data))
            own_buffers.append(own)
        except OSError as error:
            if error.filename is None and error.errno is not None:
                error.filename = file.target.typed
            raise

    try:
        run_tasks(work, _tasks(files), count)
    except BaseException as error:
        for file in files:
            file.fail(error)
        raise


def made_in_order(spans: Iterable[Span], threads: int | None) -> Iterator[memoryview]:
    """Make the pieces of spans that follow each other without a gap, a few at a time by all threads, and give them."""
    together = writing_threads(threads)
    own_buffers = [np.empty(SPAN, np.uint8) for _ in range(together)]
    left = iter(spans)
    while chosen := list(islice(left, together)):
        made: list[list[memoryview]] = [[] for _ in chosen]

        def work(i: int, chosen: Sequence[Span] = chosen, made: list[list[memoryview]] = made) -> None:
            made[i] = [data for _, data in chosen[i].pieces(own_buffers[i])]

        run_tasks(work, range(len(chosen)), together)
        for pieces in made:
            yield from pieces
