"""winit dummy: write finite random weights of a model's shapes, for benchmarks of serving."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winit.cli.failures import FailureError
from winit.cli.options import add_quiet, add_threads, seed
from winit.cli.plans import check_apart, is_recipe, plan_of, stored_config
from winit.cli.progress import bar
from winit.cli.terminal import say

if TYPE_CHECKING:
    from winit import Plan, Scheme

__all__ = ["HELP", "add", "run"]

HELP = "write finite random weights of a model's shapes, for benchmarks of serving"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "spec",
        metavar="SOURCE",
        help="what gives names, shapes and dtypes: a safetensors or npz file, an index or a folder of such, of which "
        "headers are read; a config.json; a recipe or a TOML plan",
    )
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="the folder to write, or a place in a store"
    )
    parser.add_argument("--dtype", metavar="D", help="store the floating-point tensors as D instead")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="0 <= N < 2^64 (default: 0)")
    parser.add_argument(
        "--law",
        metavar="SCHEME",
        help="the law of floating-point weights, such as 'normal(std=0.02)' (default: uniform(-1e-3, 1e-3), in "
        "float8_e4m3fn uniform(-2^-4, 2^-4))",
    )
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="a parameter of a recipe or TOML plan"
    )
    parser.add_argument("--max-shard-size", metavar="S", help="bytes of tensors a file at most, 5GB by default")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--config", metavar="FILE", help="a config.json to copy (default: the one beside SOURCE)")
    add_threads(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the files and say what is in them."""
    from winit.checkpoint import dummy

    _check_output(arguments.output)
    source, config = _source(arguments)
    scheme = None if arguments.law is None else _scheme(arguments.law)
    began = time.monotonic()
    with bar(arguments.quiet, "dummy") as progress:
        written = dummy(
            source,
            arguments.output,
            seed=arguments.seed,
            dtype=arguments.dtype,
            scheme=scheme,
            max_shard_size=arguments.max_shard_size,
            overwrite=arguments.overwrite,
            threads=arguments.threads,
            progress=progress,
            config=config,
        )
    if not arguments.quiet:
        seconds = time.monotonic() - began
        files = f"{len(written.files)} file{'' if len(written.files) == 1 else 's'}"
        say(f"{arguments.output}: {written.nbytes:,} bytes in {files}, seed {arguments.seed}, {seconds:.2f} s")
    return 0


def _check_output(output: str) -> None:
    from winit.checkpoint.writing import kind_of_output

    try:
        kind = kind_of_output(output) if output and output != "-" else "none"
    except ValueError:
        kind = "none"
    if kind != "folder":
        hint = "; one with a dot in its name is written with a / at its end" if "." in output else ""
        raise FailureError(f"-o must name a folder, not {output!r}{hint}")


def _source(arguments: argparse.Namespace) -> tuple[Plan | str, str | dict[str, Any] | None]:
    """Return a file of tensors by its path, or a plan; and the configuration that belongs to it."""
    path = Path(arguments.spec)
    beside = path / "config.json" if path.is_dir() else path.with_name("config.json")
    if not is_recipe(arguments.spec) and _has_headers(path):
        check_apart(arguments.output, [], [arguments.spec])
        if arguments.set:
            raise FailureError(f"--set is for recipes and TOML plans, and {arguments.spec} holds tensors")
        config = str(beside) if beside.is_file() else None
        return arguments.spec, arguments.config or stored_config(config, arguments.dtype)
    # Its dtype is not yet asked for: tensors of scales may be of another.
    plan = plan_of(argparse.Namespace(**{**vars(arguments), "dtype": None, "like": None}))
    if is_recipe(arguments.spec):
        return plan, arguments.config
    config = str(path) if path.suffix == ".json" else str(beside) if path.is_dir() else None
    return plan, arguments.config or stored_config(config, arguments.dtype)


def _has_headers(path: Path) -> bool:
    """Tell whether a path means files whose headers say what tensors there are."""
    if path.is_dir():
        return any(name.endswith((".safetensors", ".safetensors.index.json")) for name in map(str, path.iterdir()))
    return path.name.endswith((".safetensors", ".npz", ".safetensors.index.json"))


def _scheme(text: str) -> Scheme:
    """Make the scheme that --law names."""
    from winit._plans.toml_reader import read_scheme

    try:
        return read_scheme(text)
    except ValueError as error:
        raise FailureError(f"--law: {error}") from None
