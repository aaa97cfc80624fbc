"""The one pattern language: `*` is any run of characters, every other character is itself, brackets and dots too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from winit._core.checks import items_of, shown

__all__ = [
    "captured",
    "check_met",
    "check_patterns",
    "matches",
    "matching",
    "nearest_hint",
    "nearest_names",
    "substituted",
    "unmatched",
]

Patterns = str | Iterable[str]


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("(.*)".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def matches(pattern: str, name: str) -> bool:
    """Tell whether a pattern matches all of a name.

    >>> matches("h.*.weight", "h.0.fc.weight"), matches("layers[0].*", "layers[0].scale"), matches("w[12]", "w1")
    (True, True, False)
    """
    return pattern == name or ("*" in pattern and _compiled(pattern).fullmatch(name) is not None)


def captured(pattern: str, name: str) -> tuple[str, ...] | None:
    """Return what each * of a pattern stands for in a name; None where it does not match."""
    found = _compiled(pattern).fullmatch(name)
    return None if found is None else found.groups()


def substituted(pattern: str, parts: Sequence[str]) -> str:
    """Put one text in the place of each * of a pattern.

    >>> substituted("transformer.h.*", ["0.weight"])
    'transformer.h.0.weight'
    """
    first, *rest = pattern.split("*")
    return first + "".join(part + piece for part, piece in zip(parts, rest, strict=True))


def check_patterns(patterns: Any, what: str) -> tuple[str, ...]:
    """Return a caller's pattern or patterns as a tuple."""
    if isinstance(patterns, str):
        return (patterns,)
    found = None if isinstance(patterns, (bytes, dict)) else items_of(patterns)
    if found is None:
        raise TypeError(f"{what} must be a pattern or several, not {shown(patterns)}")
    for pattern in found:
        if not isinstance(pattern, str):
            raise TypeError(f"{what} must be a pattern or several, not {shown(pattern)}")
    return tuple(found)


def check_met(patterns: Iterable[str], names: Iterable[str], what: str) -> None:
    """Raise for a pattern that matches none of the names: it is nearly always a misspelling."""
    names = list(names)
    for pattern in patterns:
        if not any(matches(pattern, name) for name in names):
            raise ValueError(unmatched(pattern, names, what))


def matching(patterns: Iterable[str], names: Iterable[str], what: str) -> list[str]:
    """Return the names that patterns match, in the names' order; each pattern matches one at least."""
    patterns, names = tuple(patterns), list(names)
    check_met(patterns, names, what)
    return [name for name in names if any(matches(pattern, name) for pattern in patterns)]


def nearest_names(pattern: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Find the names that look most like a pattern which matches none of them.

    Each is compared with the pattern by its end and by all of it, since a `*` in front stands for anything.

    >>> nearest_names("*.bais", ["h.0.attn.weight", "h.0.attn.bias"])
    ['h.0.attn.bias']
    """
    tail = pattern.rpartition("*")[2]
    scored = []
    for name in list(names)[:5000]:
        score = SequenceMatcher(None, pattern, name).ratio()
        if "*" in pattern and tail:
            score = max(score, SequenceMatcher(None, tail, name[-len(tail) :]).ratio())
        scored.append((score, name))
    scored.sort(key=lambda item: -item[0])
    best = scored[0][0] if scored else 0.0
    return [name for score, name in scored[:most] if score >= max(0.6, best - 0.1)]


def nearest_hint(name: str, names: Iterable[str]) -> str:
    """Name, in a clause that ends a message, the names that come nearest to one that is not there."""
    names = list(names)
    near = nearest_names(name, names)
    if near:
        return f"; the nearest {'is' if len(near) == 1 else 'are'} {', '.join(map(repr, near))}"
    if not names:
        return "; there are none"
    return f"; there are {', '.join(map(repr, names[:3]))}{', ...' if len(names) > 3 else ''}"


def unmatched(pattern: str, names: Iterable[str], what: str) -> str:
    """Say that a pattern matches no name, and which names come nearest."""
    return f"{what} {shown(pattern)} matches no name{nearest_hint(pattern, names)}"
