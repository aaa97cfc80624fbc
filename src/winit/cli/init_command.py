"""winit init: draw a plan's tensors into a safetensors file."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from winit.cli.failures import FailureError
from winit.cli.options import add_plan, add_quiet, add_seed, add_threads
from winit.cli.plans import is_recipe, plan_of
from winit.cli.progress import bar
from winit.cli.terminal import say

__all__ = ["HELP", "add", "run"]

HELP = "draw a plan's tensors into a safetensors file"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_plan(parser)
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the safetensors file to write")
    add_seed(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    add_threads(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file and say what is in it."""
    _check_output(arguments.output, arguments.spec)
    plan = plan_of(arguments)
    began = time.monotonic()
    with bar(arguments.quiet, "init") as progress:
        plan.write(
            arguments.output,
            seed=arguments.seed,
            overwrite=arguments.overwrite,
            threads=arguments.threads,
            progress=progress,
        )
    if not arguments.quiet:
        seconds = time.monotonic() - began
        say(
            f"{arguments.output}: {len(plan.stored)} tensors, {plan.parameters:,} parameters, {plan.nbytes:,} bytes, "
            f"seed {arguments.seed}, {seconds:.2f} s"
        )
    return 0


def _check_output(output: str, spec: str) -> None:
    """Refuse what names no file, and what would destroy the plan."""
    if output == "-":
        raise FailureError("-o - is refused: winit does not write to standard output; a file called - is written ./-")
    if not output or output.endswith(os.sep):
        raise FailureError(f"-o must name a file, not {output!r}")
    try:
        same = not is_recipe(spec) and Path(spec).samefile(output)
    except (OSError, ValueError):  # one of them is not there, as a rule
        same = False
    if same:
        raise FailureError(f"-o {output} is the plan itself")
