"""A plan from SPEC, --set and --dtype."""

from __future__ import annotations

import argparse
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winit._core.checks import shown
from winit.cli.failures import FailureError, did_you_mean, nearest

if TYPE_CHECKING:
    from winit import Plan

__all__ = ["is_recipe", "missing_file", "no_recipe", "plan_of"]

_RECIPE = re.compile(r"\w[\w-]*")


def is_recipe(spec: str) -> bool:
    """Tell whether SPEC is a recipe's name.

    A name without a dot or slash is, whatever files there are, so that a command means the same everywhere.
    """
    return _RECIPE.fullmatch(spec) is not None


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Make the plan that a command line names.

    Raises
    ------
    FailureError : the message says what is wrong with SPEC, --set or --dtype. OSError : a file that cannot be read.

    """
    sizes = _sizes(arguments.set)
    spec: str = arguments.spec
    plan = _recipe(spec, sizes) if is_recipe(spec) else _document(spec, sizes)
    try:
        return plan if arguments.dtype is None else plan.with_dtype(arguments.dtype)
    except (TypeError, ValueError) as error:
        raise FailureError(f"{spec}: {error}") from None


def _recipe(spec: str, sizes: dict[str, Any]) -> Plan:
    from winit import recipes

    if spec not in recipes.names():
        files = [f"{spec}.toml"] if Path(f"{spec}.toml").is_file() else []
        raise FailureError(no_recipe(spec, f"; a file is written ./{spec}", files))
    return recipes.load(spec, **sizes)


def no_recipe(name: str, more: str = "", files: Sequence[str] = ()) -> str:
    """Say that no recipe has a name, more, and which recipes or else which files may have been meant."""
    from winit import recipes

    known = recipes.names()
    hint = did_you_mean(files or nearest(name, known))
    return f"no recipe is called {shown(name, 60)}; there are: {', '.join(known)}{more}{hint}"


def _document(spec: str, sizes: dict[str, Any]) -> Plan:
    from winit import Plan, recipes

    if spec == "-":
        raise FailureError(
            "SPEC - is refused: winit does not read a plan from standard input; a file called - is written ./-"
        )
    if not spec:
        raise FailureError("SPEC must be a TOML file or the name of a recipe, not ''")
    path = Path(spec)
    try:
        return Plan.from_toml(path, sizes)
    except FileNotFoundError:
        raise missing_file(spec, recipes.names()) from None
    except IsADirectoryError:
        raise FailureError(f"{spec}: Is a directory, where the TOML file of a plan is wanted{_within(path)}") from None
    except (TypeError, ValueError) as error:
        if _holds_tensors(path):
            raise FailureError(f"{spec}: is a safetensors file, where the TOML file of a plan is wanted") from None
        text = str(error)
        raise FailureError(text if text.startswith(f"{path}: ") else f"{spec}: {text}") from None


def missing_file(path: str, recipes: Sequence[str] = ()) -> FailureError:
    """Say that a file is not there, and which files or recipes may have been meant."""
    folder, name = os.path.split(path)
    recipe = name.removesuffix(".toml")
    if not folder and recipe in recipes:
        near = [f"{recipe}, the recipe"]
    else:
        try:
            near = [os.path.join(folder, found) for found in nearest(name, os.listdir(folder or "."))[:1]]  # noqa: PTH118, PTH208
        except OSError:
            near = []
    return FailureError(f"{path}: No such file or directory{did_you_mean(near)}")


def _within(folder: Path) -> str:
    """The plans that a folder may hold, as the end of a message."""
    try:
        plans = sorted(entry.name for entry in folder.iterdir() if entry.suffix == ".toml")
    except OSError:
        return ""
    more = ", ..." if len(plans) > 3 else ""
    return f"; in it: {', '.join(plans[:3])}{more}" if plans else ""


def _holds_tensors(path: Path) -> bool:
    """Tell whether a file begins as a safetensors file does: the header's length, then the header, an object."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
            return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= os.fstat(file.fileno()).st_size
    except OSError:
        return False


def _sizes(settings: Sequence[str]) -> dict[str, Any]:
    """The parameters of --set NAME=VALUE."""
    sizes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not name or not equals:
            raise FailureError(f"--set takes NAME=VALUE, not {shown(setting, 60)}")
        if name in sizes:
            raise FailureError(f"--set gives {name} twice")
        try:
            value = tomllib.loads(f"value = {text}")
        except (ValueError, RecursionError):  # malformed, an integer of 5000 digits, lists nested too deeply
            value = {}
        if list(value) != ["value"]:
            raise FailureError(
                f"--set {name}: {shown(text, 60)} is not a value such as 24, 0.02, true or '[3, 3, 9, 3]'"
            )
        sizes[name] = value["value"]
    return sizes
