"""Names as text and numbers: tensors of one kind in several layers differ in the numbers alone."""

from __future__ import annotations

import re

__all__ = ["numbered"]

# A number as it is counted: 01 is text, and so is what is longer than any index.
_NUMBER = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,17})(?![0-9])")
_MOST = 16  # numbers in a name; one that has more is text


def numbered(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Split a name into the text around its numbers, and the numbers.

    A name that has braces of its own is all text, since a folded name is written with braces.

    >>> numbered("h.11.ln_1.weight")
    (('h.', '.ln_', '.weight'), (11, 1))
    """
    pieces = _NUMBER.split(name)
    if "{" in name or "}" in name or len(pieces) > 2 * _MOST + 1:
        return (name,), ()
    return tuple(pieces[::2]), tuple(int(number) for number in pieces[1::2])
