"""winit report: write a page on what schemes do to a network, on a plan, or on a checkpoint."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winit._core.checks import shown
from winit.cli.failures import FailureError
from winit.cli.options import add_plan, add_quiet, add_seed, add_threads, count
from winit.cli.plans import files_read, missing_file, plan_of
from winit.cli.progress import bar
from winit.cli.terminal import say

if TYPE_CHECKING:
    from winit import Plan
    from winit.activations import Activation
    from winit.lab import Report

__all__ = ["HELP", "add", "run"]

HELP = "write a page on what schemes do to a network, on a plan, or on a checkpoint"
SCHEMES = "zeros,normal:0.01,lecun_normal,xavier_normal,he_normal,orthogonal"

# The options of a network, with what they are where they are not given.
_NETWORK: dict[str, Any] = {
    "activation": "relu",
    "depth": 20,
    "width": 256,
    "schemes": SCHEMES,
    "bias": 0.0,
    "batch": 256,
    "seeds": 3,
    "steps": 200,
    "residual": False,
    "norm": None,
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    default = _NETWORK
    add_plan(parser, by_option=True)
    parser.add_argument("--checkpoint", metavar="FILE", help="report on a checkpoint, as winit audit does")
    parser.add_argument(
        "-o", "--output", metavar="PAGE", help="the page to write, an .html file; with --json a .json file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace PAGE if it exists")
    parser.add_argument(
        "--json", action="store_true", help="write what was found as JSON, on standard output without -o"
    )
    parser.add_argument(
        "--activation",
        metavar="F",
        help=f"of a network: its activation, such as tanh or leaky_relu:0.2 (default: {default['activation']})",
    )
    parser.add_argument(
        "--schemes",
        metavar="LIST",
        help=f"of a network: schemes with commas between, such as he_normal, normal:0.01 or 'normal(std=0.01)' "
        f"(default: {SCHEMES})",
    )
    numbers = {
        "depth": "layers",
        "width": "units of each layer",
        "batch": "samples of the signal",
        "seeds": "networks that are trained for each scheme",
    }
    for name, what in numbers.items():
        text = f"of a network: {what} (default: {default[name]})"
        parser.add_argument(f"--{name}", type=count, metavar="N", help=text)
    parser.add_argument(
        "--steps", type=_steps, metavar="N", help=f"of training; 0 trains none (default: {default['steps']})"
    )
    parser.add_argument("--bias", type=_number, metavar="X", help="of a network: all biases (default: 0)")
    parser.add_argument(
        "--residual", action="store_const", const=True, help="of a network: add a layer's input to its output"
    )
    parser.add_argument("--norm", choices=["rms", "layer"], help="of a network: normalise what a layer reads")
    add_seed(parser, optional=True)
    add_threads(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page and say what is best, or what there is to look at."""
    target = _target(arguments)
    if arguments.checkpoint is not None:
        found = _checkpoint(arguments)
    elif arguments.spec is not None:
        found = _plan(arguments)
    else:
        found = _network(arguments)
    if target is None:
        say(found.to_json())
        return 0
    from winit.lab.pages import write_report

    write_report(found, target)
    if not arguments.quiet:
        for line in _summary(found):
            say(line)
        say(f"{arguments.output}: written")
    return 0


# ---- what is asked


def _target(arguments: argparse.Namespace) -> Any:
    """Check that options fit together, and where the report goes, before anything is computed."""
    network = [name for name in _NETWORK if getattr(arguments, name) is not None]
    subject = "--checkpoint" if arguments.checkpoint is not None else "--plan" if arguments.spec is not None else None
    if subject is not None and network:
        raise FailureError(f"--{network[0]} is for networks, and {subject} is given (see winit report --help)")
    if subject == "--plan" and arguments.seed is not None:
        raise FailureError("--seed is not for a plan alone: no weight is drawn (see winit report --help)")
    if subject == "--plan" and arguments.threads is not None:
        raise FailureError("--threads is not for a plan alone: no weight is drawn (see winit report --help)")
    if arguments.spec is None:
        for option, value in {"--set": arguments.set or None, "--like": arguments.like}.items():
            if value is not None:
                raise FailureError(f"{option} needs --plan SPEC, the plan that it belongs to")
    if subject == "--checkpoint":
        if arguments.spec is None and (arguments.seed is not None or arguments.dtype is not None):
            option = "--seed" if arguments.seed is not None else "--dtype"
            raise FailureError(f"{option} needs --plan SPEC, the plan that the checkpoint was drawn from")
        if arguments.spec is not None and arguments.seed is None:
            raise FailureError("--checkpoint with --plan needs --seed N: both together tell what training left")
        if arguments.checkpoint in ("", "-"):
            raise FailureError(f"--checkpoint must name a safetensors or npz file, not {arguments.checkpoint!r}")
    return _output(arguments)


def _output(arguments: argparse.Namespace) -> Any:
    """Return where the report goes, None for standard output."""
    output, ending = arguments.output, ".json" if arguments.json else ".html"
    if output is None:
        if not arguments.json:
            raise FailureError("-o PAGE is needed: the page to write (or --json, which prints)")
        if arguments.overwrite:
            raise FailureError("--overwrite needs -o PAGE, the file that it may replace")
        if arguments.quiet:
            raise FailureError("--quiet needs -o PAGE: nothing would be printed nor written")
        return None
    if output == "-":
        raise FailureError("-o - is refused: winit does not write pages to standard output; --json without -o prints")
    if Path(output).suffix != ending:
        given = " with --json" if arguments.json else ""
        raise FailureError(f"-o must name a file that ends in {ending}{given}, not {shown(output, 60)}")
    read = [] if arguments.spec is None else files_read(arguments)
    for path in [*read, *([] if arguments.checkpoint is None else [arguments.checkpoint])]:
        try:
            same = Path(path).samefile(output)
        except (OSError, ValueError):  # one of them is not there, as a rule
            continue
        if same:
            raise FailureError(f"-o {output} is what the report is on, or what that is read from: {path}")
    from winit.lab.pages import check_output

    return check_output(output, arguments.overwrite)


def _number(text: str) -> float:
    """Read --bias."""
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, not {shown(text, 60)}")
    return value


def _steps(text: str) -> int:
    """Read --steps: a number from 0 on."""
    return 0 if text == "0" else count(text)


# ---- reports


def _network(arguments: argparse.Namespace) -> Report:
    from winit._plans.short_schemes import read_short_schemes
    from winit.lab import report

    given = {
        name: default if getattr(arguments, name) is None else getattr(arguments, name)
        for name, default in _NETWORK.items()
    }
    try:
        schemes = read_short_schemes(given.pop("schemes"))
    except ValueError as error:
        raise FailureError(f"--schemes: {error}") from None
    activation = _activation(given.pop("activation"))
    with bar(arguments.quiet, "report", " parts") as progress:
        return report(
            schemes,
            activation,
            **given,
            seed=arguments.seed or 0,
            dtype=arguments.dtype or "float32",
            threads=arguments.threads,
            progress=progress,
        )


def _activation(text: str) -> Activation:
    """Read --activation: a name, or a name with its parameter."""
    from winit.activations import Activation

    name, colon, number = text.partition(":")
    try:
        return Activation(name, _number(number) if colon else None)
    except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
        raise FailureError(f"--activation: {error}") from None


def _plan(arguments: argparse.Namespace) -> Report:
    from winit.lab import report_plan

    found = report_plan(plan_of(arguments), name=arguments.spec)
    return replace(found, command=("winit", "report", *_plan_words(arguments)))


def _checkpoint(arguments: argparse.Namespace) -> Report:
    from winit.lab import report_checkpoint

    plan: Plan | None = None if arguments.spec is None else plan_of(arguments)
    try:
        with bar(arguments.quiet, "report") as progress:
            found = report_checkpoint(
                arguments.checkpoint, plan, seed=arguments.seed, threads=arguments.threads, progress=progress
            )
    except FileNotFoundError as error:
        if error.filename == arguments.checkpoint and not Path(arguments.checkpoint).exists():
            raise missing_file(arguments.checkpoint) from None
        raise
    words = ["winit", "report", "--checkpoint", arguments.checkpoint]
    if plan is not None:
        words += [*_plan_words(arguments), "--seed", str(arguments.seed)]
    return replace(found, command=tuple(words))


def _plan_words(arguments: argparse.Namespace) -> Sequence[str]:
    words = ["--plan", arguments.spec]
    words += ["--like", arguments.like] if arguments.like is not None else []
    for setting in arguments.set:
        words += ["--set", setting]
    return words + (["--dtype", arguments.dtype] if arguments.dtype is not None else [])


def _summary(found: Report) -> list[str]:
    """Say in a few lines what the page says at its beginning."""
    data = found.data
    if found.kind == "network":
        return list(data["best"])
    if found.kind == "plan":
        warned = len({each["name"] for each in data["warnings"]})
        return [f"{data['tensors']:,} tensors, {data['parameters']:,} parameters, rows with warnings: {warned}"]
    return [f"{len(data['tensors']):,} tensors, {data['bytes']:,} bytes, flags: {len(data['flags'])}"]
