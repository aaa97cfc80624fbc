"""JSON objects that are not trusted: read as strictly as JSON's definition and the safetensors library do."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from winit._core.checks import shown

__all__ = ["ForbiddenError", "object_of"]

_DEEPEST = 127


class ForbiddenError(ValueError):
    """What is JSON and not what is read: its message goes on after the name of what was read."""


def object_of(text: bytes, infinities: bool = False) -> dict[str, Any]:
    """Read an object, no key of which is given twice, from JSON in UTF-8: ValueError for all else.

    infinities : whether Infinity, -Infinity and NaN may stand for numbers, as Python writes them.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ForbiddenError(f"has {shown(key)} twice")
            found[key] = value
        return found

    def integer(digits: str) -> int:
        if digits == "-0" or len(digits) > 300:  # a floating-point number to the library; beyond its range
            raise ValueError(f"the number {digits[:20]} is not an integer of 64 bits")
        return int(digits)

    def number(digits: str) -> float:
        if math.isinf(float(digits)):
            raise ValueError(f"the number {digits[:20]} is beyond the range of float64")
        return float(digits)

    def constant(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON")

    decoded = text.decode("utf-8")
    found = json.loads(
        decoded,
        object_pairs_hook=unique,
        parse_int=integer,
        parse_float=number,
        parse_constant=float if infinities else constant,
    )
    if not isinstance(found, dict):
        raise ForbiddenError("is not an object")
    _check_nesting(found)
    if "\\u" in decoded:  # half of a surrogate pair is no character
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found


def _check_nesting(found: Any) -> None:
    """Refuse what is nested deeper than the library reads."""
    level, depth = [found], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ForbiddenError(f"is nested deeper than {_DEEPEST} levels")
        inner = [each.values() if isinstance(each, dict) else each for each in level]
        level = [value for each in inner for value in each if isinstance(value, (dict, list))]
