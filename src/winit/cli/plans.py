"""A plan from SPEC, --set and --dtype."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winit.cli.failures import FailureError

if TYPE_CHECKING:
    from winit._plans.plan import Plan

__all__ = ["plan_of"]

# A name without a dot or slash is a recipe's whatever files there are, so that a command means the same everywhere.
_RECIPE = re.compile(r"\w[\w-]*")


def _sizes(settings: Sequence[str]) -> dict[str, Any]:
    """The parameters of --set NAME=VALUE."""
    sizes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not name or not equals:
            raise FailureError(f"--set takes NAME=VALUE, not {setting!r}")
        if name in sizes:
            raise FailureError(f"--set gives {name} twice")
        try:
            value = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            value = {}
        if list(value) != ["value"]:
            raise FailureError(f"--set {name}: {text!r} is not a value such as 24, 0.02, true or '[3, 3, 9, 3]'")
        sizes[name] = value["value"]
    return sizes


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Make the plan that a command line names."""
    from winit import recipes
    from winit._plans.plan import Plan

    sizes = _sizes(arguments.set)
    spec = arguments.spec
    if _RECIPE.fullmatch(spec):
        if spec not in recipes.names():
            known = ", ".join(recipes.names())
            raise FailureError(f"no recipe is called {spec!r}; there are: {known}; a file is written ./{spec}")
        plan = recipes.load(spec, **sizes)
    else:
        try:
            plan = Plan.from_toml(Path(spec), sizes)
        except (TypeError, ValueError) as error:
            raise FailureError(f"{spec}: {error}") from None
    try:
        return plan if arguments.dtype is None else plan.with_dtype(arguments.dtype)
    except (TypeError, ValueError) as error:
        raise FailureError(f"{spec}: {error}") from None
