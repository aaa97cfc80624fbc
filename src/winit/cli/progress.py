"""The bar that shows how far a command is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["progress"]


def progress(quiet: bool, what: str) -> Callable[[int, int], None] | None:
    """A bar of bytes and rate on standard error; none where that is not a terminal."""
    if quiet or not sys.stderr.isatty():
        return None
    began = time.monotonic()
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < 0.1:
            return
        last = now
        part = done / total if total else 1.0
        bar = ("#" * int(30 * part)).ljust(30)
        rate = done / max(now - began, 1e-9) / 1e9
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{what} [{bar}] {done / 1e9:.2f}/{total / 1e9:.2f} GB  {rate:.2f} GB/s{end}")
        sys.stderr.flush()

    return report
