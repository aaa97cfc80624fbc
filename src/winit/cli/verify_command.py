"""winit verify: recompute every element of a file and say which tensors differ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from winit.cli.failures import FailureError
from winit.cli.options import add_plan, add_quiet, add_seed, add_threads
from winit.cli.plans import missing_file, plan_of
from winit.cli.progress import bar
from winit.cli.terminal import flush, say

if TYPE_CHECKING:
    from winit.checkpoint import Verification

__all__ = ["HELP", "add", "run"]

HELP = "recompute every element of a file and say which tensors differ"
_LISTED = 10


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file", metavar="FILE", help="the safetensors or npz file, the index of one in shards, or their folder"
    )
    add_plan(parser)
    add_seed(parser)
    add_threads(parser)
    parser.add_argument("--all", action="store_true", help=f"list all that differs, not only the first {_LISTED}")
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Say what the file's metadata contradicts, then what differs; the status is 1 if anything but metadata does."""
    from winit.checkpoint import verify

    file = arguments.file
    if file == "-":
        raise FailureError("FILE - is refused: winit does not verify standard input; a file called - is written ./-")
    if not file:
        raise FailureError("FILE must name a safetensors file, not ''")
    plan = plan_of(arguments)

    def note(text: str) -> None:
        if not arguments.quiet:
            say(f"{file}: {text}")
            flush()

    try:
        with bar(arguments.quiet, "verify") as progress:
            found = verify(file, plan, seed=arguments.seed, threads=arguments.threads, progress=progress, notes=note)
    except FileNotFoundError as error:
        if error.filename != file or Path(file).exists():  # a shard, or a folder without any
            raise
        raise missing_file(file) from None
    if not arguments.quiet:
        for line in _report(found, every=arguments.all):
            say(line)
        say(f"{file}: {_summary(found)}")
    return 0 if found.ok else 1


def _report(found: Verification, every: bool) -> list[str]:
    lines = [f"{file}: {what}" for file, what in found.broken.items()]
    lines += [f"{name}: differs" for name in found.differ]
    lines += [f"{name}: {what}" for name, what in found.malformed.items()]
    lines += [f"{name}: missing" for name in found.missing]
    lines += [f"{name}: not in the plan" for name in found.unexpected]
    if every or len(lines) <= _LISTED:
        return lines
    return [*lines[:_LISTED], f"... and {len(lines) - _LISTED} more (--all lists them)"]


def _summary(found: Verification) -> str:
    if found.ok:
        return f"all {found.tensors} tensors, {found.bytes:,} bytes, are those of the plan"
    counts = [
        (len(found.differ), "differ"),
        (len(found.malformed), "of another dtype or shape"),
        (len(found.missing), "missing"),
        (len(found.unexpected), "not in the plan"),
        (found.tensors - len(found.differ), "agree"),
    ]
    files = f"files: {len(found.broken)} missing or broken; " if found.broken else ""
    return f"{files}tensors: " + ", ".join(f"{count} {what}" for count, what in counts if count)
