"""The command line: winit init, winit show, winit verify, winit recipes."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line and leave with status 2."""
        raise _FailureError(f"{message} (see {self.prog} --help)")


class _FailureError(Exception):
    """What ends the program with one line and status 2."""


# A name without a dot or slash is a recipe's whatever files there are, so that a command means the same everywhere.
_RECIPE = re.compile(r"\w[\w-]*")
_SPEC = "the plan: a TOML file, or the name of a recipe (a file without a dot in its name is written ./FILE)"


def _parser() -> _Parser:
    parser = _Parser(
        prog="winit",
        description="Initialise the weights of a model: fast, seeded, the same bits everywhere.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")

    init = command("init", "draw a plan's tensors into a safetensors file")
    init.add_argument("spec", metavar="SPEC", help=_SPEC)
    init.add_argument("-o", "--output", metavar="FILE", required=True, help="the safetensors file to write")
    init.add_argument("--seed", type=int, required=True, metavar="N", help="0 <= N < 2^64")
    init.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")

    show = command("show", "print a plan as a table")
    show.add_argument("spec", metavar="SPEC", help=_SPEC)

    verify = command("verify", "recompute every element of a file and say which tensors differ")
    verify.add_argument("file", metavar="FILE", help="the safetensors file")
    verify.add_argument("spec", metavar="SPEC", help=_SPEC)
    verify.add_argument("--seed", type=int, required=True, metavar="N", help="0 <= N < 2^64")

    command("recipes", "list the recipes, with their parameters and defaults")

    for sub in (init, show, verify):
        sub.add_argument(
            "--set",
            metavar="NAME=VALUE",
            action="append",
            default=[],
            help="a parameter of the plan instead of its default, VALUE as in TOML: layers=24, tied=false, "
            "'depths=[3, 3, 27, 3]' (repeatable; winit recipes lists those of the recipes)",
        )
        sub.add_argument("--dtype", metavar="D", help="store the floating-point tensors as D instead")
    for sub in (init, verify):
        sub.add_argument("--threads", type=int, metavar="N", help="threads (default: the processors available)")
        sub.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _progress(quiet: bool, what: str) -> Callable[[int, int], None] | None:
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


def _init(arguments: argparse.Namespace) -> int:
    plan = _plan(arguments)
    began = time.monotonic()
    plan.write(
        arguments.output,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
        threads=arguments.threads,
        progress=_progress(arguments.quiet, "init"),
    )
    if not arguments.quiet:
        seconds = time.monotonic() - began
        print(
            f"{arguments.output}: {len(plan.stored)} tensors, {plan.parameters:,} parameters, {plan.nbytes:,} bytes, "
            f"seed {arguments.seed}, {seconds:.2f} s"
        )
    return 0


def _show(arguments: argparse.Namespace) -> int:
    plan = _plan(arguments)
    rows = [("name", "shape", "dtype", "scheme", "std", "parameters")]
    for name, param in plan.items():
        shape = "x".join(map(str, param.shape)) or "scalar"
        if param.scheme is None:
            rows.append((name, shape, param.dtype, f"tied to {param.tied}", "", ""))
            continue
        std = param.scheme.moments(param.shape, param.layout).std
        rows.append((name, shape, param.dtype, repr(param.scheme), f"{std:.6g}", f"{param.size:,}"))
    rows.append((f"total: {len(plan.stored)} tensors", "", "", f"{plan.nbytes:,} bytes", "", f"{plan.parameters:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:4], widths[:4], strict=True)]
        cells += [cell.rjust(width) for cell, width in zip(row[4:], widths[4:], strict=True)]
        print("  ".join(cells).rstrip())
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from winit.checkpoint import verify

    plan = _plan(arguments)
    found = verify(
        arguments.file,
        plan,
        seed=arguments.seed,
        threads=arguments.threads,
        progress=_progress(arguments.quiet, "verify"),
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


def _recipes(arguments: argparse.Namespace) -> int:
    from winit import recipes

    names = recipes.names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {recipes.description(name)}")
        defaults = [f"{key}={_toml(default)}" for key, default in recipes.parameters(name).items()]
        indent = " " * (width + 4)
        wrapped = textwrap.wrap(
            "  ".join(item.replace(" ", "\0") for item in defaults),
            width=110,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        print("\n".join(wrapped).replace("\0", " "))
    return 0


def _toml(value: object) -> str:
    """A parameter's default as --set takes it; an expression over other parameters in parentheses."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"({value})" if isinstance(value, str) else str(value)


def _sizes(settings: Sequence[str]) -> dict[str, Any]:
    """The parameters of --set NAME=VALUE."""
    sizes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not name or not equals:
            raise _FailureError(f"--set takes NAME=VALUE, not {setting!r}")
        if name in sizes:
            raise _FailureError(f"--set gives {name} twice")
        try:
            value = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            value = {}
        if list(value) != ["value"]:
            raise _FailureError(f"--set {name}: {text!r} is not a value such as 24, 0.02, true or '[3, 3, 9, 3]'")
        sizes[name] = value["value"]
    return sizes


def _plan(arguments: argparse.Namespace):  # type: ignore[no-untyped-def]
    from winit import recipes
    from winit._plans.plan import Plan

    sizes = _sizes(arguments.set)
    spec = arguments.spec
    if _RECIPE.fullmatch(spec):
        if spec not in recipes.names():
            known = ", ".join(recipes.names())
            raise _FailureError(f"no recipe is called {spec!r}; there are: {known}; a file is written ./{spec}")
        plan = recipes.load(spec, **sizes)
    else:
        try:
            plan = Plan.from_toml(Path(spec), sizes)
        except (TypeError, ValueError) as error:
            raise _FailureError(f"{spec}: {error}") from None
    try:
        return plan if arguments.dtype is None else plan.with_dtype(arguments.dtype)
    except (TypeError, ValueError) as error:
        raise _FailureError(f"{spec}: {error}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 (verify found differences), 2 (an error, said in one line).

    Parameters
    ----------
    argv : the arguments, sys.argv[1:] by default.

    """
    try:
        arguments = _parser().parse_args(argv)
        status = {"init": _init, "show": _show, "verify": _verify, "recipes": _recipes}[arguments.command](arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of our output has gone, as `winit show SPEC | head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("winit: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
    except (_FailureError, TypeError, ValueError, ArithmeticError, MemoryError, ImportError) as error:
        message = str(error) or type(error).__name__
    print("winit: error: " + " ".join(message.split()), file=sys.stderr)
    return 2
