"""The command line."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 (a check found something), 2 (an error, said in one line).

    Parameters
    ----------
    argv : the arguments, sys.argv[1:] by default.

    """
    try:
        from winit.cli.program import main as run
    except KeyboardInterrupt:
        import sys

        sys.stderr.write("winit: interrupted\n")
        return 130
    return run(argv)
