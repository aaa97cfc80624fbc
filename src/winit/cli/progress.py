"""The bar that shows how far a command is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar"]


@contextmanager
def bar(quiet: bool, what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show bytes and rate on standard error while the block runs; give None where that is not a terminal.

    What the block is given is called with the bytes done and the bytes in all. A bar that the block leaves before its
    end keeps its line to itself, so that an error's message begins a new one.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    began = time.monotonic()
    last = 0.0
    unfinished = False

    def report(done: int, total: int) -> None:
        nonlocal last, unfinished
        now = time.monotonic()
        if done < total and now - last < 0.1:
            return
        last = now
        part = done / total if total else 1.0
        filled = ("#" * int(30 * part)).ljust(30)
        rate = done / max(now - began, 1e-9) / 1e9
        unfinished = done < total
        end = "" if unfinished else "\n"
        sys.stderr.write(f"\r{what} [{filled}] {done / 1e9:.2f}/{total / 1e9:.2f} GB  {rate:.2f} GB/s{end}")
        sys.stderr.flush()

    try:
        yield report
    finally:
        if unfinished:
            sys.stderr.write("\n")
            sys.stderr.flush()
