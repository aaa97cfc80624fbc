"""The parameters of a plan's document: their defaults, the values given, and what is required of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from winit._core.checks import integer_of, nearest, shown
from winit._plans.expressions import check_name, evaluate, evaluate_condition

__all__ = ["Value", "check_requirements", "settle"]

Value = bool | int | float | list[int | float]


def settle(table: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Value]:
    """Work out the parameters of a document from its table of defaults and the values given.

    A default that is a string is an expression over the parameters above it. A value has the kind of its default.

    >>> settle({"dim": 768, "inner": "4 * dim", "tied": True}, {"dim": 64})
    {'dim': 64, 'inner': 256, 'tied': True}
    """
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"a parameter's name must be a str, not {type(name).__name__}")
        if name not in table:
            raise ValueError(
                f"unknown parameter {shown(name)}{nearest(name, table)}; there are: {', '.join(table) or 'none'}"
            )
    values: dict[str, Value] = {}
    for name, default in table.items():
        what = f"parameter {check_name(name, 'parameter')}"
        value = evaluate(default, values, what) if isinstance(default, str) else default
        if not _is_value(value):
            raise ValueError(
                f"{what} must be a number, true, false, or a list of integers or of numbers, not {shown(value)}"
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
            raise TypeError(f"{what} must be a list such as {default}, not {shown(value)}")
        kind = 0 if all(type(item) is int for item in default) else 0.0
        return [_number_like(kind, item, what) for item in value]
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise TypeError(f"{what} must be true or false, not {shown(value)}")
        return value
    return _number_like(default, value, what)


def _number_like(default: int | float, value: Any, what: str) -> int | float:
    number = integer_of(value)
    if number is not None:
        if not -(1 << 63) <= number < 1 << 63:
            raise ValueError(f"{what} must be within 64 bits, as TOML's integers are, not {shown(number)}")
        return number
    if isinstance(default, int):
        raise TypeError(f"{what} must be an integer, not {shown(value)}")
    if not isinstance(value, float):
        raise TypeError(f"{what} must be a number, not {shown(value)}")
    if not math.isfinite(value):
        raise ValueError(f"{what} must be finite, not {shown(value)}")
    return float(value)


def check_requirements(requirements: Any, values: Mapping[str, Value]) -> None:
    """Raise unless every condition that a document requires of its parameters holds."""
    if not isinstance(requirements, list) or not all(isinstance(text, str) for text in requirements):
        raise ValueError(f"require must be an array of strings, not {shown(requirements)}")
    for text in requirements:
        if not evaluate_condition(text, values, "require"):
            used = [name for name in values if re.search(rf"\b{name}\b", text)]
            raise ValueError(f"needs {text}, not " + ", ".join(f"{name} = {shown(values[name])}" for name in used))
