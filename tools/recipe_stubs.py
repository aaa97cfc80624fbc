"""Write src/winit/recipes/__init__.pyi, which tells type checkers and editors the recipes' sizes, from their TOML.

python tools/recipe_stubs.py          # prints it
python tools/recipe_stubs.py --write
"""

import inspect
import pathlib
import sys

from winit import recipes
from winit._plans.parameter_table import settle

PATH = pathlib.Path(__file__).parents[1] / "src" / "winit" / "recipes" / "__init__.pyi"
HEAD = """# Written by tools/recipe_stubs.py from the recipes' TOML. DO NOT EDIT.
from collections.abc import Sequence

from winit._plans.parameter_table import Value
from winit._plans.plan import Plan

__all__ = ["description", "load", "names", "parameters"]

def names() -> list[str]: ...
def description(name: str) -> str: ...
def parameters(name: str) -> dict[str, Value | str]: ...
def load(name: str, /, **sizes: Value) -> Plan: ...
"""


def kind(value):
    if isinstance(value, list):
        return "Sequence[float]" if any(isinstance(item, float) for item in value) else "Sequence[int]"
    return type(value).__name__


def stubs():
    """The text of the stub file: one function a recipe, keyword-only, an ellipsis for what an expression gives."""
    lines = [HEAD]
    for name in recipes.names():
        given = recipes.parameters(name)
        settled = settle(given, {})
        sizes = [
            f"{size}: {kind(settled[size])} = {'...' if isinstance(default, (str, list)) else repr(default)}"
            for size, default in given.items()
        ]
        assert list(inspect.signature(getattr(recipes, name)).parameters) == list(given)
        lines.append(f"def {name}(\n    *,\n    " + ",\n    ".join(sizes) + ",\n) -> Plan: ...\n")
    return "".join(lines)


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PATH.write_text(stubs())
    else:
        print(stubs(), end="")
