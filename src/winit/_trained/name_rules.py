"""Which tensors of the files are which of the plan's: names by rules, and ways to fit by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from winit._core.checks import items_of, shown
from winit._plans.globs import captured, substituted
from winit._trained.sources import Source

__all__ = ["FITS", "Names", "check_fits", "check_names", "listed", "source_of"]

FITS = ("overlap", "select", "mean", "covariance", "bicubic", "channels")

Names = Mapping[str, str | Source | None] | Iterable[tuple[str, str | Source | None]]


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


def check_names(names: Any) -> list[tuple[str, Source | None]]:
    """Return a caller's rules from names in the plan to sources in the files, or to None for what is drawn."""
    checked: list[tuple[str, Source | None]] = []
    for own, other in _pairs(names, "names"):
        if other is not None and not isinstance(other, (str, Source)):
            raise TypeError(f"names must lead to a name, a winit.Source or None, not {shown(other)}")
        source = Source(other) if isinstance(other, str) else other
        for name in source.names if source is not None else ():
            if name.count("*") != own.count("*"):
                raise ValueError(f"names must have as many * on both sides, not {shown(own)} and {shown(name)}")
        checked.append((own, source))
    return checked


def check_fits(fit: Any) -> list[tuple[str, str]]:
    """Return a caller's rules from names in the plan to ways in which their shapes come to fit."""
    checked = _pairs(fit, "fit")
    for _, how in checked:
        if not isinstance(how, str) or how not in FITS:
            wrong = ValueError if isinstance(how, str) else TypeError
            raise wrong(f"fit must lead to one of {', '.join(FITS)}, not {shown(how)}")
    return checked


def source_of(name: str, rules: Sequence[tuple[str, Source | None]]) -> Source | None:
    """Return what a tensor of the plan is made of: by the first rule that matches, else of that of its own name.

    >>> source_of("h.0.weight", [("h.*", Source("transformer.h.*"))])
    Source('transformer.h.0.weight')
    """
    for pattern, source in rules:
        parts = captured(pattern, name)
        if parts is not None:
            return None if source is None else source.named([substituted(other, parts) for other in source.names])
    return Source(name)


def listed(names: Sequence[str]) -> str:
    """List names in a message: five, and how many more there are."""
    first = ", ".join(shown(name, 60) for name in names[:5])
    return first if len(names) <= 5 else f"{first} and {len(names) - 5} more"
