"""Recipes: the plans of well-known models, parameterised by their sizes. Each is a TOML file beside this one.

>>> from winit import recipes
>>> recipes.load("gpt2", layers=24, dim=1024)
<Plan of 293 tensors, 354,823,168 parameters, 1,419,292,672 bytes>
>>> recipes.gpt2(layers=24, dim=1024) == recipes.load("gpt2", layers=24, dim=1024)
True
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.resources import files
from inspect import Parameter, Signature

from winit._core.checks import check_text, nearest, shown
from winit._plans.parameter_table import Value
from winit._plans.plan import Plan

__all__ = ["description", "load", "names", "parameters"]


@cache
def _texts() -> dict[str, str]:
    """The recipes' TOML text by name, in alphabetical order."""
    found = sorted(files(__name__).iterdir(), key=lambda entry: entry.name)
    return {entry.name[:-5]: entry.read_text(encoding="utf-8") for entry in found if entry.name.endswith(".toml")}


def _text(name: str) -> str:
    if check_text(name, "name") not in _texts():
        raise ValueError(f"unknown recipe {shown(name)}{nearest(name, _texts())}; there are: {', '.join(_texts())}")
    return _texts()[name]


def names() -> list[str]:
    """List the recipes, in alphabetical order.

    >>> "gpt2" in names()
    True
    """
    return list(_texts())


def description(name: str) -> str:
    """Describe a recipe in one line.

    Raises
    ------
    ValueError : an unknown recipe; the message lists the known ones.

    >>> description("gpt2")
    "GPT-2: transformers' GPT2LMHeadModel"

    """
    return str(tomllib.loads(_text(name))["description"])


def parameters(name: str) -> dict[str, Value | str]:
    """Return a recipe's parameters and their defaults.

    Returns
    -------
    dict : name -> int, float, bool or list; or str, an expression over the parameters before it.

    Raises
    ------
    ValueError : an unknown recipe; the message lists the known ones.

    >>> parameters("gpt2")["dim"], parameters("gpt2")["inner"]
    (768, '4 * dim')

    """
    return dict(tomllib.loads(_text(name))["parameters"])


def load(name: str, /, **sizes: Value) -> Plan:
    """Make the plan of a recipe.

    Parameters
    ----------
    name : one of names().
    sizes : values instead of the defaults of parameters(name), of the same kinds.

    Raises
    ------
    ValueError : an unknown recipe or parameter, and the message lists the known ones; sizes that do not go together.
    TypeError : a size of another kind than its default.

    >>> plan = load("llama", vocab=128256, dim=2048, layers=16, inner=8192, kv_heads=8, tied=True)
    >>> plan.with_dtype("bfloat16")
    <Plan of 147 tensors, 1,235,814,400 parameters, 2,471,628,800 bytes>
    >>> load("gpt2", depth=24)
    Traceback (most recent call last):
        ...
    ValueError: gpt2: unknown parameter 'depth'; there are: vocab, positions, dim, layers, inner, tied, std

    """
    text = _text(name)
    try:
        return Plan.from_toml(text, sizes)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


@lru_cache(maxsize=64)
def _recipe(name: str) -> Callable[..., Plan]:
    def recipe(**sizes: Value) -> Plan:
        return load(name, **sizes)

    recipe.__name__ = recipe.__qualname__ = name
    recipe.__doc__ = f"Make the plan of {description(name)}; see load."
    sizes = [Parameter(size, Parameter.KEYWORD_ONLY, default=default) for size, default in parameters(name).items()]
    recipe.__signature__ = Signature(sizes)  # type: ignore[attr-defined]  # what help() and editors show
    return recipe


def __getattr__(name: str) -> Callable[..., Plan]:
    if name.startswith("_") or name not in _texts():
        near = nearest(name, (*_texts(), *__all__))
        raise AttributeError(
            f"module 'winit.recipes' has no attribute {name!r}{near}; recipes are: {', '.join(_texts())}"
        )
    return _recipe(name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_texts()})
