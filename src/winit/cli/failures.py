"""What ends the program with one line and status 2, and the hints that such a line gives."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = ["FailureError", "did_you_mean", "nearest"]


class FailureError(Exception):
    """What ends the program with one line and status 2."""


def nearest(typed: str, known: Iterable[str]) -> list[str]:
    """Find the names, at most three, that are nearest to the one typed.

    >>> nearest("gtp2", ["bert", "gpt2", "vit"])
    ['gpt2']
    """
    return difflib.get_close_matches(typed, list(dict.fromkeys(known)), n=3)


def did_you_mean(names: Sequence[str]) -> str:
    """Ask for names in a clause that ends a message; "" where there are none.

    >>> did_you_mean(["gpt2", "vit"])
    '; did you mean gpt2 or vit?'
    """
    return f"; did you mean {' or '.join(names)}?" if names else ""
