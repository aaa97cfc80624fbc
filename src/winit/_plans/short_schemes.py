"""Schemes as they are typed in a list: zeros,normal:0.01,he_normal, and calls such as normal(std=0.02) among them."""

from __future__ import annotations

import re

from winit._core.checks import shown
from winit._core.scheme import Scheme
from winit._plans.toml_reader import known_schemes, read_scheme

__all__ = ["read_short_scheme", "read_short_schemes"]

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SHORT = re.compile(r"([\w.]+)(?::(.*))?", re.DOTALL)
# One number says how far values lie from 0; the first argument of these is something else.
_SCALED = {"normal": "std={0}", "truncated_normal": "std={0}", "uniform": "low=-({0}), high={0}"}


def read_short_scheme(text: str) -> Scheme:
    """Make the scheme of NAME, NAME:NUMBER, NAME:NUMBER,NUMBER or a call as plans have it.

    Numbers are the scheme's arguments in their order, but for a single one of normal and truncated_normal, which is
    their std, and of uniform, which is uniform(-number, number).

    >>> read_short_scheme("normal:0.01"), read_short_scheme("sparse:15"), read_short_scheme("zeros")
    (normal(std=0.01), sparse(k=15), zeros())
    >>> read_short_scheme("uniform:0.1"), read_short_scheme("normal(std=0.02)")
    (uniform(low=-0.1, high=0.1), normal(std=0.02))

    Raises
    ------
    ValueError : an unknown name, what are no numbers, arguments that the scheme refuses.

    """
    text = text.strip()
    match = _SHORT.fullmatch(text)
    if match is None:
        return read_scheme(text)
    name, given = match.groups()
    numbers = [] if given is None else [number.strip() for number in given.split(",")]
    if not all(map(_NUMBER.fullmatch, numbers)):
        raise ValueError(f"scheme {shown(text, 60)}: after {name}: stand numbers such as 0.01 or 0,0.02")
    if name not in known_schemes():
        return read_scheme(f"{name}()")  # which says what names are near
    alone = _SCALED.get(name) if len(numbers) == 1 else None
    return read_scheme(f"{name}({alone.format(*numbers) if alone else ', '.join(numbers)})")


def read_short_schemes(text: str) -> dict[str, Scheme]:
    """Make the schemes of a list with commas between, each by the text that it was given as.

    A number belongs to the name before it, so that uniform:-0.1,0.2,zeros are two.

    >>> list(read_short_schemes("uniform:-0.1,0.2, zeros,normal(mean=0, std=1)"))
    ['uniform:-0.1,0.2', 'zeros', 'normal(mean=0, std=1)']

    Raises
    ------
    ValueError : nothing between two commas, one given twice, and what read_short_scheme refuses.

    """
    pieces: list[str] = []
    for piece in _parts(text):
        if pieces and ":" in pieces[-1] and _NUMBER.fullmatch(piece):
            pieces[-1] += f",{piece}"
        else:
            pieces.append(piece)
    found: dict[str, Scheme] = {}
    for piece in pieces:
        if not piece:
            raise ValueError(f"a scheme is missing in {shown(text, 60)}")
        if piece in found:
            raise ValueError(f"scheme {shown(piece, 60)} is given twice")
        found[piece] = read_short_scheme(piece)
    return found


def _parts(text: str) -> list[str]:
    """Cut at the commas that stand in no brackets."""
    parts, depth, begin = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if character == "," and depth <= 0:
            parts.append(text[begin:place].strip())
            begin = place + 1
    return [*parts, text[begin:].strip()]
