"""Which tensor of the files is which of the plan's: names by rules, and ways to fit by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from winit._core.checks import items_of, shown

__all__ = ["FITS", "check_fits", "check_names", "listed", "pattern_of", "source_name"]

FITS = ("overlap", "select", "mean", "covariance")


def _pairs(rules: Any, what: str) -> list[tuple[str, Any]]:
    listed = list(rules.items()) if isinstance(rules, Mapping) else None if isinstance(rules, str) else items_of(rules)
    if listed is None:
        raise TypeError(f"{what} must be a mapping or pairs, not {shown(rules)}")
    pairs = []
    for rule in listed:
        if isinstance(rule, str) or not isinstance(rule, Sequence) or len(rule) != 2 or not isinstance(rule[0], str):
            raise TypeError(f"{what} must be a mapping or pairs that begin with a name, not {shown(rule)}")
        pairs.append((rule[0], rule[1]))
    return pairs


def pattern_of(text: str) -> re.Pattern[str]:
    """Compile a name in which each * stands for any characters, and every other character for itself."""
    return re.compile("(.*)".join(map(re.escape, text.split("*"))), re.DOTALL)


def check_names(names: Any) -> list[tuple[re.Pattern[str], str | None]]:
    checked = []
    for own, other in _pairs(names, "names"):
        if other is not None and not isinstance(other, str):
            raise TypeError(f"names must lead to a name or None, not {shown(other)}")
        if other is not None and other.count("*") != own.count("*"):
            raise ValueError(f"names must have as many * on both sides, not {shown(own)} and {shown(other)}")
        checked.append((pattern_of(own), other))
    return checked


def check_fits(fit: Any) -> list[tuple[re.Pattern[str], str]]:
    checked = []
    for own, how in _pairs(fit, "fit"):
        if how not in FITS if isinstance(how, str) else True:
            wrong = ValueError if isinstance(how, str) else TypeError
            raise wrong(f"fit must lead to one of {', '.join(FITS)}, not {shown(how)}")
        checked.append((pattern_of(own), how))
    return checked


def source_name(name: str, names: Sequence[tuple[re.Pattern[str], str | None]]) -> str | None:
    """Return the name in the files of a name in the plan: by the first rule that matches, else the same."""
    for pattern, other in names:
        match = pattern.fullmatch(name)
        if match:
            if other is None:
                return None
            first, *rest = other.split("*")
            return first + "".join(group + piece for group, piece in zip(match.groups(), rest, strict=True))
    return name


def listed(names: Sequence[str]) -> str:
    first = ", ".join(shown(name, 60) for name in names[:5])
    return first if len(names) <= 5 else f"{first} and {len(names) - 5} more"
