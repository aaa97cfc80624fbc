"""Which tensor of the files is which of the plan's: names by rules, and ways to fit by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["FITS", "check_fits", "check_names", "listed", "pattern_of", "source_name"]

FITS = ("overlap", "select", "mean", "covariance")


def _pairs(rules: Any, what: str) -> list[tuple[str, Any]]:
    listed = list(rules.items()) if isinstance(rules, Mapping) else rules
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise TypeError(f"{what} must be a mapping or pairs, not {rules!r}")
    pairs = []
    for rule in listed:
        if isinstance(rule, str) or not isinstance(rule, Sequence) or len(rule) != 2 or not isinstance(rule[0], str):
            raise TypeError(f"{what} must be a mapping or pairs that begin with a name, not {rule!r}")
        pairs.append((rule[0], rule[1]))
    return pairs


def pattern_of(text: str) -> re.Pattern[str]:
    """Compile a name in which each * stands for any characters, and every other character for itself."""
    return re.compile("(.*)".join(map(re.escape, text.split("*"))), re.DOTALL)


def check_names(names: Any) -> list[tuple[re.Pattern[str], str | None]]:
    checked = []
    for own, other in _pairs(names, "names"):
        if other is not None and not isinstance(other, str):
            raise TypeError(f"names must lead to a name or None, not {other!r}")
        if other is not None and other.count("*") != own.count("*"):
            raise ValueError(f"names must have as many * on both sides, not {own!r} and {other!r}")
        checked.append((pattern_of(own), other))
    return checked


def check_fits(fit: Any) -> list[tuple[re.Pattern[str], str]]:
    checked = []
    for own, how in _pairs(fit, "fit"):
        if not isinstance(how, str):
            raise TypeError(f"fit must lead to one of {', '.join(FITS)}, not {how!r}")
        if how not in FITS:
            raise ValueError(f"fit must lead to one of {', '.join(FITS)}, not {how!r}")
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
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
