"""All that the program prints goes through here: one line at a time, safe for any terminal, pipe and encoding."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from winit.cli.failures import FailureError

__all__ = ["complain", "flush", "printable", "say"]


def printable(text: str) -> str:
    r"""Make a text safe for a terminal: each character that does not print becomes its escape, as in repr.

    A tensor's name may hold anything, a line break or a terminal's escape sequence too. A text that is printable
    already stays as it is, so doing this twice does no harm.

    >>> printable("h.0\x1b[31m\n")
    'h.0\\x1b[31m\\n'
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def say(line: str) -> None:
    """Print one line on standard output.

    When the reader has gone, as `head` does, the rest goes nowhere, and the command's status stays what it is.

    Raises
    ------
    FailureError : standard output cannot be written for another reason, such as a full disk.

    """
    if sys.stdout is not None:  # it is None where the process was started without one
        try:
            sys.stdout.write(_encodable(line, sys.stdout) + "\n")
        except OSError as error:
            _give_up(error)


def flush() -> None:
    """Send what was said on its way; the errors are those of say."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            _give_up(error)


def complain(line: str) -> None:
    """Print one line on standard error, if it can be printed: there is nowhere else to say that it cannot."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(_encodable(line, sys.stderr) + "\n")
            sys.stderr.flush()
        except OSError:
            pass


def _encodable(line: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return printable(line).encode(encoding, "backslashreplace").decode(encoding)


def _give_up(error: OSError) -> None:
    """Point standard output nowhere, or else Python would fail again when it flushes it at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    if not isinstance(error, BrokenPipeError):
        raise FailureError(f"standard output: {error.strerror or error}") from None
