"""The command line: winit init, winit show, winit verify, winit recipes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from winit.cli import init_command, recipes_command, show_command, verify_command
from winit.cli.failures import FailureError

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line and leave with status 2."""
        raise FailureError(f"{message} (see {self.prog} --help)")


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


_COMMANDS = {
    "init": init_command,
    "show": show_command,
    "verify": verify_command,
    "recipes": recipes_command,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 (verify found differences), 2 (an error, said in one line).

    Parameters
    ----------
    argv : the arguments, sys.argv[1:] by default.

    """
    try:
        arguments = _parser().parse_args(argv)
        status: int = _COMMANDS[arguments.command].run(arguments)
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
    except (FailureError, TypeError, ValueError, ArithmeticError, MemoryError, ImportError) as error:
        message = str(error) or type(error).__name__
    print("winit: error: " + " ".join(message.split()), file=sys.stderr)
    return 2
