"""Plans with parameters: the values of a document's [parameters], and the names that a pattern with braces makes.

In a name of such a plan, braces hold one of

    {i=0..layers-1}     a range, both ends included and possibly empty; `i` is known to the tensor's expressions
    {0..layers-1}       the same, without a name
    {q,k,v}             words
    {layers-1}          one integer

and {{...}} stands for {...} itself. A range sees the parameters and the ranges to its left.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, SupportsIndex

from winit._plans.expressions import check_name, condition, evaluate, integer

__all__ = ["Value", "check_requirements", "expand", "fill", "settle"]

Value = bool | int | float | list[int | float]

_PIECES = re.compile(r"(\{\{[^{}]*\}\}|\{[^{}]*\})")
_NAMED = re.compile(r"\s*([^\W\d]\w*)\s*=(.*)", re.DOTALL)
_MOST = 1_000_000


def settle(table: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Value]:
    """Work out the parameters of a document from its table of defaults and the values given.

    A default that is a string is an expression over the parameters above it. A value has the kind of its default.

    >>> settle({"dim": 768, "inner": "4 * dim", "tied": True}, {"dim": 64})
    {'dim': 64, 'inner': 256, 'tied': True}
    """
    for name in given:
        if name not in table:
            raise ValueError(f"unknown parameter {name!r}; there are: {', '.join(table) or 'none'}")
    values: dict[str, Value] = {}
    for name, default in table.items():
        what = f"parameter {check_name(name, 'parameter')}"
        value = evaluate(default, values, what) if isinstance(default, str) else default
        if not _is_value(value):
            raise ValueError(
                f"{what} must be a number, true, false, or a list of integers or of numbers, not {value!r}"
            )
        values[name] = _like(value, given[name], what) if name in given else value
    return values


def _is_value(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(type(item) in (int, float) and math.isfinite(item) for item in value)
    return type(value) in (bool, int, float) and math.isfinite(value)


def _like(default: Value, value: Any, what: str) -> Value:
    """A given value, if it is of the default's kind."""
    if isinstance(default, list):
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
            raise TypeError(f"{what} must be a list such as {default}, not {value!r}")
        kind = 0 if all(type(item) is int for item in default) else 0.0
        return [_number_like(kind, item, what) for item in value]
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise TypeError(f"{what} must be true or false, not {value!r}")
        return value
    return _number_like(default, value, what)


def _number_like(default: int | float, value: Any, what: str) -> int | float:
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return value.__index__()
    if isinstance(default, int):
        raise TypeError(f"{what} must be an integer, not {value!r}")
    if not isinstance(value, float):
        raise TypeError(f"{what} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{what} must be finite, not {value!r}")
    return float(value)


def check_requirements(requirements: Any, values: Mapping[str, Value]) -> None:
    """Raise unless every condition that a document requires of its parameters holds."""
    if not isinstance(requirements, list) or not all(isinstance(text, str) for text in requirements):
        raise ValueError(f"require must be an array of strings, not {requirements!r}")
    for text in requirements:
        if not condition(text, values, "require"):
            used = [name for name in values if re.search(rf"\b{name}\b", text)]
            raise ValueError(f"needs {text}, not " + ", ".join(f"{name} = {values[name]}" for name in used))


def fill(text: str, names: Mapping[str, Any], what: str) -> str:
    """Replace the integers in braces of a text, such as the `tied` of a tensor.

    >>> fill("h.{i + 1}.weight", {"i": 2}, "tied")
    'h.3.weight'
    """
    filled = []
    for piece in _split(text):
        if piece.startswith("{") and not piece.startswith("{{"):
            if ".." in piece or "," in piece:
                raise ValueError(f"{what} {text!r}: {piece} is more than one name; name the range, and write that")
            piece = str(integer(piece[1:-1], names, piece))
        filled.append(_literal(piece))
    return "".join(filled)


def expand(pattern: str, names: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Make the names of a pattern, each with all that its tensor's expressions know: `names` and the ranges' values.

    >>> [name for name, _ in expand("h.{i=0..layers-1}.{q,k}", {"layers": 2})]
    ['h.0.q', 'h.0.k', 'h.1.q', 'h.1.k']
    """
    made = list(islice(_expand(_split(pattern), dict(names)), _MOST + 1))
    if len(made) > _MOST:
        raise ValueError("makes more than a million names")
    return made


def _expand(pieces: list[str], names: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if not pieces:
        yield "", names
        return
    piece, *rest = pieces
    for text, known in _choices(piece, names):
        for tail, all_known in _expand(rest, known):
            yield text + tail, all_known


def _choices(piece: str, names: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What one piece of a pattern can be."""
    if not piece.startswith("{") or piece.startswith("{{"):
        yield _literal(piece), names
    elif ".." in piece:
        yield from _range(piece, names)
    elif "," in piece:
        for word in piece[1:-1].split(","):
            yield word.strip(), names
    else:
        yield str(integer(piece[1:-1], names, piece)), names


def _range(piece: str, names: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    named = _NAMED.fullmatch(piece[1:-1])
    index = named and check_name(named[1], "range")
    if index and index in names:
        raise ValueError(f"the range {piece} takes a name that stands for something else already")
    first, last = (integer(end, names, piece) for end in (named[2] if named else piece[1:-1]).split("..", 1))
    if last < first - 1:  # first - 1 is the empty range: no layers of this kind
        raise ValueError(f"the range {piece} runs backwards, from {first} to {last}")
    if last - first >= _MOST:
        raise ValueError(f"the range {piece} makes more than a million names")
    for number in range(first, last + 1):
        yield str(number), {**names, index: number} if index else names


def _split(text: str) -> list[str]:
    pieces = [piece for piece in _PIECES.split(text) if piece]
    if any(re.search(r"[{}]", piece) for piece in pieces if not _PIECES.fullmatch(piece)):
        raise ValueError("has a brace without its partner ({{...}} stands for {...} itself)")
    return pieces


def _literal(piece: str) -> str:
    return piece[1:-1] if piece.startswith("{{") else piece
