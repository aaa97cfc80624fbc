"""winit init: draw a plan's tensors into a file, or into the files of a folder."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from winit.cli.dcp import dcp_writer
from winit.cli.failures import FailureError
from winit.cli.options import add_plan, add_quiet, add_seed, add_threads, count, rank
from winit.cli.plans import check_apart, config_beside, files_read, plan_of, stored_config
from winit.cli.progress import bar
from winit.cli.terminal import say

if TYPE_CHECKING:
    from winit import Plan
    from winit.checkpoint import Written

__all__ = ["HELP", "add", "run"]

HELP = "draw a plan's tensors into a file, or into the files of a folder"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_plan(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="what to write: a .safetensors or .npz file, a folder (also one that is not there yet), or a place in a "
        "store such as s3://bucket/folder",
    )
    add_seed(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the files of this plan and seed that are whole, write what is lacking or damaged, and refuse others",
    )
    parser.add_argument(
        "--max-shard-size", metavar="S", help="of a folder: bytes of tensors a file at most, 5GB by default"
    )
    parser.add_argument(
        "--rank",
        type=rank,
        metavar="R",
        help="of a folder: write the files of one process of many only; auto asks torchrun's, Slurm's, Open MPI's, "
        "PMI's or an array job's environment",
    )
    parser.add_argument("--world", type=count, metavar="W", help="how many processes write the folder")
    parser.add_argument(
        "--format",
        choices=["safetensors", "dcp"],
        default="safetensors",
        help="of a folder: dcp is the format of torch.distributed.checkpoint (needs torch)",
    )
    parser.add_argument("--config", metavar="FILE", help="of a folder: a config.json to copy into it")
    add_threads(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the files and say what is in them."""
    _check_output(arguments.output, files_read(arguments), [] if arguments.like is None else [arguments.like])
    write = _writer(arguments)
    plan = plan_of(arguments)
    began = time.monotonic()
    with bar(arguments.quiet, "init") as progress:
        written = write(
            plan,
            arguments.output,
            seed=arguments.seed,
            overwrite=arguments.overwrite,
            threads=arguments.threads,
            progress=progress,
            rank=arguments.rank,
            world=arguments.world,
        )
    if not arguments.quiet:
        say(_summary(arguments, plan, written, time.monotonic() - began))
    return 0


def _writer(arguments: argparse.Namespace) -> Callable[..., Written]:
    """Return what writes the output, a file or a folder of either format, with the options that it alone takes."""
    if arguments.format == "safetensors":
        from winit.checkpoint import write

        config = arguments.config or stored_config(config_beside(arguments.spec, arguments.output), arguments.dtype)
        return partial(write, max_shard_size=arguments.max_shard_size, resume=arguments.resume, config=config)
    return dcp_writer(arguments)


def _summary(arguments: argparse.Namespace, plan: Plan, written: Written, seconds: float) -> str:
    """Say what was written, of which plan, and how long it took."""
    files = len(written.files)
    tensors = f"{len(plan.stored)} tensors, {plan.parameters:,} parameters, {plan.nbytes:,} bytes"
    said = [f"{arguments.output}: {tensors}"]
    if arguments.rank is not None:
        said.append(f"of them {written.nbytes:,} bytes by this rank")
    if files != 1 or written.kept or arguments.rank is not None:
        said.append(f"{files} file{'' if files == 1 else 's'} written")
    if written.kept:
        said.append(f"{len(written.kept)} whole already")
    return ", ".join([*said, f"seed {arguments.seed}", f"{seconds:.2f} s"])


def _check_output(output: str, read: Sequence[str], like: Sequence[str]) -> None:
    """Refuse what names no file or folder, and what would destroy a file that the plan is read from."""
    if output == "-":
        raise FailureError("-o - is refused: winit does not write to standard output; a file called - is written ./-")
    if not output:
        raise FailureError("-o must name a file or a folder, not ''")
    check_apart(output, read, like)
