"""Which tensor of the files is which of the plan's: names by rules, and ways to fit by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from winit._core.checks import items_of, shown
from winit._plans.globs import captured, substituted

__all__ = ["FITS", "check_fits", "check_names", "listed", "source_name"]

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


def check_names(names: Any) -> list[tuple[str, str | None]]:
    """Return a caller's rules from names in the plan to names in the files, or to None for what is drawn."""
    checked = _pairs(names, "names")
    for own, other in checked:
        if other is not None and not isinstance(other, str):
            raise TypeError(f"names must lead to a name or None, not {shown(other)}")
        if other is not None and other.count("*") != own.count("*"):
            raise ValueError(f"names must have as many * on both sides, not {shown(own)} and {shown(other)}")
    return checked


def check_fits(fit: Any) -> list[tuple[str, str]]:
    """Return a caller's rules from names in the plan to ways in which their shapes come to fit."""
    checked = _pairs(fit, "fit")
    for _, how in checked:
        if not isinstance(how, str) or how not in FITS:
            wrong = ValueError if isinstance(how, str) else TypeError
            raise wrong(f"fit must lead to one of {', '.join(FITS)}, not {shown(how)}")
    return checked


def source_name(name: str, names: Sequence[tuple[str, str | None]]) -> str | None:
    """Return the name in the files of a name in the plan: by the first rule that matches, else the same.

    >>> source_name("h.0.weight", [("h.*", "transformer.h.*")])
    'transformer.h.0.weight'
    """
    for pattern, other in names:
        parts = captured(pattern, name)
        if parts is not None:
            return None if other is None else substituted(other, parts)
    return name


def listed(names: Sequence[str]) -> str:
    """List names in a message: five, and how many more there are."""
    first = ", ".join(shown(name, 60) for name in names[:5])
    return first if len(names) <= 5 else f"{first} and {len(names) - 5} more"
