"""The names that a plan's document makes of one name with braces.

In braces stands one of

    {i=0..layers-1}     a range, both ends included and possibly empty; `i` is known to the tensor's expressions
    {0..layers-1}       the same, without a name
    {q,k,v}             words
    {layers-1}          one integer

and {{ and }} stand for braces themselves. A range sees the parameters and the ranges to its left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from winit._core.checks import shown
from winit._plans.expressions import check_name, evaluate_integer, shown_text

__all__ = ["escaped", "expand", "filled", "range_names"]

_NAMED = re.compile(r"\s*([^\W\d]\w*)\s*=(.*)", re.DOTALL)
_MOST = 1_000_000


def filled(text: str, names: Mapping[str, Any], what: str) -> str:
    """Replace the integers in braces of a text, such as the `tied` of a tensor.

    >>> filled("h.{i + 1}.weight", {"i": 2}, "tied")
    'h.3.weight'
    """
    made = []
    for piece, braced in _split(text):
        if braced and (".." in piece or "," in piece):
            raise ValueError(
                f"{what} {shown(text)}: {{{shown_text(piece)}}} is more than one name; name the range, and write that"
            )
        made.append(str(evaluate_integer(piece, names, f"{{{piece}}}")) if braced else piece)
    return "".join(made)


def expand(pattern: str, names: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Make the names of a pattern, each with all that its tensor's expressions know: `names` and the ranges' values.

    >>> [name for name, _ in expand("h.{i=0..layers-1}.{q,k}", {"layers": 2})]
    ['h.0.q', 'h.0.k', 'h.1.q', 'h.1.k']
    """
    made = list(islice(_expand(_split(pattern), dict(names)), _MOST + 1))
    if len(made) > _MOST:
        raise ValueError("makes more than a million names")
    return made


def _expand(pieces: list[tuple[str, bool]], names: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if not pieces:
        yield "", names
        return
    (piece, braced), *rest = pieces
    for text, known in _choices(piece, names) if braced else [(piece, names)]:
        for tail, all_known in _expand(rest, known):
            yield text + tail, all_known


def _choices(piece: str, names: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the text in one pair of braces can be."""
    if ".." in piece:
        yield from _range(piece, names)
    elif "," in piece:
        for word in piece.split(","):
            yield word.strip(), names
    else:
        yield str(evaluate_integer(piece, names, f"{{{piece}}}")), names


def _range(piece: str, names: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    named = _NAMED.fullmatch(piece)
    shown_piece = f"{{{shown_text(piece)}}}"
    index = named and check_name(named[1], "range")
    if index and index in names:
        raise ValueError(f"the range {shown_piece} takes a name that stands for something else already")
    first, last = (evaluate_integer(end, names, shown_piece) for end in (named[2] if named else piece).split("..", 1))
    if last < first - 1:  # first - 1 is the empty range: no layers of this kind
        raise ValueError(f"the range {shown_piece} runs backwards, from {first} to {last}")
    if last - first >= _MOST:
        raise ValueError(f"the range {shown_piece} makes more than a million names")
    for number in range(first, last + 1):
        yield str(number), {**names, index: number} if index else names


def range_names(pattern: str) -> set[str]:
    """Find the names that the ranges of a pattern give their indices; none in a pattern that is malformed.

    >>> sorted(range_names("h.{i=0..layers-1}.{q,k}.{e = 0..7}"))
    ['e', 'i']
    """
    try:
        pieces = _split(pattern)
    except ValueError:
        return set()
    found = (_NAMED.fullmatch(piece) for piece, braced in pieces if braced)
    return {named[1] for named in found if named}


def escaped(name: str) -> str:
    """Write a name so that its braces are braces.

    >>> escaped("h.{0..1}.w")
    'h.{{0..1}}.w'
    """
    return name.replace("{", "{{").replace("}", "}}")


def _split(text: str) -> list[tuple[str, bool]]:
    """Cut a text into pieces: (text, False) as it is, and (what stands in braces, True)."""
    pieces: list[tuple[str, bool]] = []
    plain, at = "", 0
    while at < len(text):
        if text.startswith(("{{", "}}"), at):
            plain, at = plain + text[at], at + 2
        elif text[at] == "{" and "}" in text[at:]:
            end = text.index("}", at)
            pieces += [(plain, False)] if plain else []
            pieces.append((text[at + 1 : end], True))
            plain, at = "", end + 1
        elif text[at] in "{}":
            raise ValueError("has a brace without its partner ({{ and }} stand for braces themselves)")
        else:
            plain, at = plain + text[at], at + 1
    return pieces + ([(plain, False)] if plain else [])
