"""winit recipes: list the recipes, or show some with their parameters."""

from __future__ import annotations

import argparse
import textwrap
import tomllib
from importlib.resources import files

from winit.cli.failures import FailureError
from winit.cli.plans import no_recipe
from winit.cli.tables import aligned
from winit.cli.terminal import say

__all__ = ["HELP", "add", "run"]

HELP = "list the recipes with their parameters and defaults, or show those named"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="a recipe to show: a line for each of its parameters")


def run(arguments: argparse.Namespace) -> int:
    """Print the list, or the recipes named."""
    from winit import recipes

    for name in arguments.names:
        if name not in recipes.names():
            raise FailureError(no_recipe(name))
    lines = [_one(name) for name in arguments.names] if arguments.names else [_list()]
    for line in "\n\n".join("\n".join(each) for each in lines).split("\n"):
        say(line)
    return 0


def _list() -> list[str]:
    from winit import recipes

    names = recipes.names()
    width = max(map(len, names))
    lines = []
    for name in names:
        lines.append(f"{name:{width}}  {recipes.description(name)}")
        defaults = [f"{key}={_toml(default)}" for key, default in recipes.parameters(name).items()]
        indent = " " * (width + 4)
        wrapped = textwrap.wrap(
            "  ".join(item.replace(" ", "\0") for item in defaults),
            width=110,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += [line.replace("\0", " ") for line in wrapped]
    return lines


def _one(name: str) -> list[str]:
    from winit import recipes

    plan = recipes.load(name)
    comments = _comments((files("winit.recipes") / f"{name}.toml").read_text(encoding="utf-8"))
    rows = [
        ("  " + parameter, _toml(default), comments.get(parameter, ""))
        for parameter, default in recipes.parameters(name).items()
    ]
    return [
        f"{name}: {recipes.description(name)}",
        *aligned([("  parameter", "default", "comment"), *rows]),
        f"  {len(plan.stored)} tensors, {plan.parameters:,} parameters, {plan.nbytes:,} bytes with these defaults",
    ]


def _comments(document: str) -> dict[str, str]:
    """The comments that end the lines of a document's [parameters], by parameter."""
    comments = {}
    inside = False
    for line in document.splitlines():
        if line.startswith("["):
            inside = line.split("#")[0].strip() == "[parameters]"
            continue
        # A # may stand in a string: what precedes a comment is TOML on its own.
        places = (place for place, character in enumerate(line) if character == "#")
        for place in places if inside else ():
            try:
                keys = list(tomllib.loads(line[:place]))
            except tomllib.TOMLDecodeError:
                continue
            if len(keys) == 1:
                comments[keys[0]] = line[place + 1 :].strip()
            break
    return comments


def _toml(value: object) -> str:
    """A parameter's default as --set takes it; an expression over other parameters in parentheses."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"({value})" if isinstance(value, str) else str(value)
