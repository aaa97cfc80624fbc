"""winit init: draw a plan's tensors into a safetensors file."""

from __future__ import annotations

import argparse
import time

from winit.cli.plans import plan_of
from winit.cli.progress import progress

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    plan = plan_of(arguments)
    began = time.monotonic()
    plan.write(
        arguments.output,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
        threads=arguments.threads,
        progress=progress(arguments.quiet, "init"),
    )
    if not arguments.quiet:
        seconds = time.monotonic() - began
        print(
            f"{arguments.output}: {len(plan.stored)} tensors, {plan.parameters:,} parameters, {plan.nbytes:,} bytes, "
            f"seed {arguments.seed}, {seconds:.2f} s"
        )
    return 0
