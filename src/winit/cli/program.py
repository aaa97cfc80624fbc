"""The command line: its parser, and main, which turns what goes wrong into one line and a status."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

from winit.cli import (
    audit_command,
    dummy_command,
    init_command,
    recipes_command,
    report_command,
    show_command,
    terminal,
    verify_command,
)
from winit.cli.failures import FailureError

__all__ = ["main"]


class _Command(Protocol):
    """What a command's module has."""

    HELP: str

    def add(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


_COMMANDS: dict[str, _Command] = {
    "init": init_command,
    "show": show_command,
    "verify": verify_command,
    "audit": audit_command,
    "dummy": dummy_command,
    "report": report_command,
    "recipes": recipes_command,
}


class _Parser(argparse.ArgumentParser):
    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords, allow_abbrev=False)  # --see is a mistake, not --seed
        self.color = False  # Python 3.14 would colour the help

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with status 2."""
        raise FailureError(f"{message} (see {self.prog} --help)")

    def print_help(self, file: Any = None) -> None:
        """Print the help on standard output."""
        for line in self.format_help().splitlines():
            terminal.say(line)


def _parser() -> _Parser:
    parser = _Parser(
        prog="winit",
        description="Initialise the weights of a model: fast, seeded, the same bits everywhere.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name, command in _COMMANDS.items():
        text = command.HELP
        command.add(commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}."))
    return parser


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit:  # --help, which has printed what it has to say
        return 0
    if arguments.version:
        from winit import __version__

        terminal.say(f"winit {__version__}")
        return 0
    if arguments.command is None:
        parser.print_help()
        return 0
    return _COMMANDS[arguments.command].run(arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 (a check found something), 2 (an error, said in one line).

    Parameters
    ----------
    argv : the arguments, sys.argv[1:] by default.

    """
    try:
        status = _run(argv)
        terminal.flush()
        return status
    except KeyboardInterrupt:
        terminal.complain("winit: interrupted")
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
    except (FailureError, TypeError, ValueError, ArithmeticError, MemoryError, ImportError) as error:
        message = str(error) or type(error).__name__
    terminal.complain(f"winit: error: {message}")
    return 2
