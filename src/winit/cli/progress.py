"""A bar that shows how far a command is, on a terminal, as tqdm's do."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar"]

_EIGHTHS = " \u258f\u258e\u258d\u258c\u258b\u258a\u2589\u2588"


@contextmanager
def bar(quiet: bool, what: str, unit: str = "B") -> Iterator[Callable[[int, int], None] | None]:
    """Show bytes, rate and time left on standard error while the block runs; give None where that is not a terminal.

    What the block is given is called with the bytes done and the bytes in all, or with what else unit names. What is
    done at its first call was done before: it counts as progress and not for the rate. A bar that the block leaves
    before its end keeps its line to itself, so that an error's message begins a new one.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    began = time.monotonic()
    last = 0.0
    initial: int | None = None
    unfinished = False

    def report(done: int, total: int) -> None:
        nonlocal last, unfinished, initial
        initial = done if initial is None else initial
        now = time.monotonic()
        if done < total and now - last < 0.1:
            return
        last = now
        unfinished = done < total
        line = _line(what, done, total, initial, now - began, unit)
        # What is left of a longer line before it is wiped out.
        sys.stderr.write(f"\r{line}\x1b[K" + ("" if unfinished else "\n"))
        sys.stderr.flush()

    try:
        yield report
    finally:
        if unfinished:
            sys.stderr.write("\n")
            sys.stderr.flush()


def _line(what: str, done: int, total: int, initial: int, seconds: float, unit: str = "B") -> str:
    """Return a line such as `init:  45%|####5     | 4.50G/10.0G [00:12<00:15, 380MB/s]`."""
    part = done / total if total else 1.0
    rate = (done - initial) / seconds if seconds > 0 else 0.0
    left = _clock((total - done) / rate) if rate else "?" if done < total else "00:00"
    speed = f"{_short(rate) if rate else '?'}{unit}/s"
    head, tail = f"{what}: {part:4.0%}|", f"| {_short(done)}/{_short(total)} [{_clock(seconds)}<{left}, {speed}]"
    width = min(max(shutil.get_terminal_size().columns - len(head) - len(tail) - 1, 0), 60)
    return head + _filled(part, width) + tail


def _filled(part: float, width: int) -> str:
    """Return a bar of a number of characters, in eighths of one; in tenths where there is nothing but ASCII."""
    steps = _EIGHTHS
    try:
        steps.encode(sys.stderr.encoding or "ascii")
    except UnicodeEncodeError:
        steps = " 123456789#"
    each = len(steps) - 1
    whole, rest = divmod(int(part * width * each), each)
    text = steps[-1] * whole + (steps[rest] if rest else "")
    return text[:width].ljust(width)


def _short(size: float) -> str:
    """Return a size in three digits, with a prefix of 1000s."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if size < 999.5 or prefix == "P":
            break
        size /= 1000
    digits = 0 if size >= 99.95 or prefix == "" else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f}{prefix}"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"
