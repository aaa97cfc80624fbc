"""winit recipes: list the recipes, with their parameters and defaults."""

from __future__ import annotations

import argparse
import textwrap

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    from winit import recipes

    names = recipes.names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {recipes.description(name)}")
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
        print("\n".join(wrapped).replace("\0", " "))
    return 0


def _toml(value: object) -> str:
    """A parameter's default as --set takes it; an expression over other parameters in parentheses."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"({value})" if isinstance(value, str) else str(value)
