"""winit verify: recompute every element of a file and say which tensors differ."""

from __future__ import annotations

import argparse

from winit.cli.plans import plan_of
from winit.cli.progress import progress

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    from winit.checkpoint import verify

    plan = plan_of(arguments)
    found = verify(
        arguments.file,
        plan,
        seed=arguments.seed,
        threads=arguments.threads,
        progress=progress(arguments.quiet, "verify"),
    )
    if not arguments.quiet:
        for name in found.differ:
            print(f"{name}: differs")
        for name, what in found.malformed.items():
            print(f"{name}: {what}")
        for name in found.missing:
            print(f"{name}: missing")
        for name in found.unexpected:
            print(f"{name}: not in the plan")
        if found.ok:
            print(f"{arguments.file}: all {found.tensors} tensors, {found.bytes:,} bytes, are those of the plan")
        else:
            claimed = found.metadata.get("winit.seed")
            if claimed is not None and claimed != str(arguments.seed):
                print(f"{arguments.file}: its metadata says seed {claimed}")
    return 0 if found.ok else 1
