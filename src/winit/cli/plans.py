"""A plan from SPEC, --like, --set and --dtype."""

from __future__ import annotations

import argparse
import json
import os
import re
import tomllib
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from winit._core.checks import shown
from winit.cli.configs import is_config
from winit.cli.failures import FailureError, did_you_mean, nearest

if TYPE_CHECKING:
    from winit import Plan
    from winit._plans.toml_reader import Laws

__all__ = [
    "check_apart",
    "config_beside",
    "files_read",
    "is_recipe",
    "missing_file",
    "no_recipe",
    "plan_of",
    "stored_config",
]

_Made = TypeVar("_Made")

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
    FailureError : the message says what is wrong with SPEC, --like, --set or --dtype. OSError : a file that cannot be
        read.

    """
    sizes = _sizes(arguments.set)
    spec: str = arguments.spec
    plan = _plan(arguments, sizes) if arguments.like is None else _plan_like(arguments, sizes)
    try:
        return plan if arguments.dtype is None else plan.with_dtype(arguments.dtype)
    except (TypeError, ValueError) as error:
        raise FailureError(f"{spec}: {error}") from None


def files_read(arguments: argparse.Namespace) -> list[str]:
    """List the files that a plan is read from, as they were typed or within the folders that were."""
    spec: str = arguments.spec
    read = [] if is_recipe(spec) else [spec, os.path.join(spec, "config.json")]  # noqa: PTH118
    return read if arguments.like is None else [*read, arguments.like]


def check_apart(output: str, read: Sequence[str], tensors: Sequence[str]) -> None:
    """Refuse an output that would replace a file that is read: the plan, or tensors whose headers give the shapes."""
    for path in read:
        try:
            same = Path(path).samefile(output) and not Path(path).is_dir()
        except (OSError, ValueError):  # one of them is not there, as a rule
            continue
        if same:
            raise FailureError(f"-o {output} is the plan itself, or what it is read from: {path}")
    out = Path(os.path.realpath(output))
    for path in tensors:
        source = Path(os.path.realpath(path))
        folder = source if source.is_dir() else source.parent
        within = out == folder or (out.parent == folder and out.exists())
        if within and (source.is_dir() or out in (folder, source)):
            raise FailureError(f"-o {output} would replace what is read from {path}: write to another folder")


def stored_config(path: str | None, dtype: str | None) -> str | dict[str, Any] | None:
    """Return a config to copy; where --dtype was given, what it says with that dtype, as the weights are stored."""
    if path is None or dtype is None:
        return path
    from winit._core.dtypes import float_name

    config: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    config["torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"] = float_name(dtype)
    return config


def config_beside(spec: str, output: str) -> str | None:
    """Return the config that SPEC is, where it is to be copied into a folder that is written and is not there yet."""
    from winit.checkpoint.writing import kind_of_output

    if is_recipe(spec) or not is_config(spec) or kind_of_output(output) != "folder":
        return None
    path = spec if Path(spec).is_file() else os.path.join(spec, "config.json")  # noqa: PTH118
    try:
        beside = Path(output, "config.json").samefile(path)
    except OSError:
        beside = False
    return None if beside else path


def _plan(arguments: argparse.Namespace, sizes: dict[str, Any]) -> Plan:
    from winit import Plan, recipes

    spec = arguments.spec
    if is_recipe(spec):
        _check_recipe(spec)
        return recipes.load(spec, **sizes)
    if is_config(spec):
        return _config(arguments)
    return _document(spec, lambda path: Plan.from_toml(path, sizes))


def _plan_like(arguments: argparse.Namespace, sizes: dict[str, Any]) -> Plan:
    """The plan of files' tensors, under the laws of SPEC."""
    from winit._plans.toml_reader import read_laws
    from winit.cli.like import plan_like, read_headers

    spec, path = arguments.spec, arguments.like
    if is_recipe(spec):
        _check_recipe(spec)
    found = read_headers(path)
    if is_recipe(spec):
        # What a recipe does not have is another model's: its rule for all the rest is not for that.
        text = (files("winit.recipes") / f"{spec}.toml").read_text(encoding="utf-8")
        try:
            laws = read_laws(text, sizes, ())._replace(patterns=())
        except (TypeError, ValueError) as error:
            raise FailureError(f"{spec}: {error}") from None
    elif is_config(spec):
        laws = _laws_of(_config(arguments))
    else:
        laws = _document(spec, lambda path: read_laws(path, sizes, list(found.entries)))
    return plan_like(found, path, laws, spec)


def _laws_of(plan: Plan) -> Laws:
    """A plan's laws, of which all may have been computed from sizes: what is made of them is not known."""
    from winit._plans.toml_reader import Laws

    return Laws(dict(plan), dict.fromkeys(plan, frozenset(["the config's sizes"])), {}, ())


def _config(arguments: argparse.Namespace) -> Plan:
    from winit.cli.configs import config_plan

    spec = arguments.spec
    if arguments.set:
        raise FailureError(f"--set {arguments.set[0]}: {spec} is a model's config, whose values are set in the file")
    return config_plan(spec, arguments.dtype, getattr(arguments, "seed", 0))


def _check_recipe(spec: str) -> None:
    from winit import recipes

    if spec not in recipes.names():
        near = [f"{spec}.toml"] if Path(f"{spec}.toml").is_file() else []
        raise FailureError(no_recipe(spec, f"; a file is written ./{spec}", near))


def no_recipe(name: str, more: str = "", files: Sequence[str] = ()) -> str:
    """Say that no recipe has a name, more, and which recipes or else which files may have been meant."""
    from winit import recipes

    known = recipes.names()
    hint = did_you_mean(files or nearest(name, known))
    return f"no recipe is called {shown(name, 60)}; there are: {', '.join(known)}{more}{hint}"


def _document(spec: str, read: Callable[[Path], _Made]) -> _Made:
    """What is read of SPEC, a TOML file."""
    from winit import recipes

    if spec == "-":
        raise FailureError(
            "SPEC - is refused: winit does not read a plan from standard input; a file called - is written ./-"
        )
    if not spec:
        raise FailureError("SPEC must be a TOML file, the name of a recipe or a model's config.json, not ''")
    path = Path(spec)
    try:
        return read(path)
    except FileNotFoundError:
        raise missing_file(spec, recipes.names()) from None
    except IsADirectoryError:
        wanted = "the TOML file of a plan or a folder with a config.json"
        raise FailureError(f"{spec}: Is a directory, where {wanted} is wanted{_within(path)}") from None
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
