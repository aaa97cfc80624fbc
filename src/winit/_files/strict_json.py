"""JSON objects that are not trusted: read as strictly as JSON's definition and the safetensors library do."""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any, NoReturn

from winit._core.checks import shown

__all__ = ["ForbiddenError", "check_nesting", "object_of"]

_DEEPEST = 127
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OTHERS = bytes(set(range(256)) - {*_STEPS, ord('"')})


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
    check_nesting(text)
    found = json.loads(
        decoded,
        object_pairs_hook=unique,
        parse_int=integer,
        parse_float=number,
        parse_constant=float if infinities else constant,
    )
    if not isinstance(found, dict):
        raise ForbiddenError("is not an object")
    if "\\u" in decoded:  # half of a surrogate pair is no character
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found


def check_nesting(text: bytes) -> None:
    """Refuse JSON that is nested deeper than the safetensors library reads, before a parser descends into it.

    Where CPython 3.11's parser nears the interpreter's limit of recursion, a collection of garbage that happens to
    start there loses the callbacks of other people's weak references.
    """
    if b"\\" in text:
        text = re.sub(rb"\\.", b"", text, flags=re.DOTALL)
    outside = b"".join(text.translate(None, _OTHERS).split(b'"')[::2])
    if max(accumulate(map(_STEPS.__getitem__, outside)), default=0) > _DEEPEST:
        raise ForbiddenError(f"is nested deeper than {_DEEPEST} levels")
