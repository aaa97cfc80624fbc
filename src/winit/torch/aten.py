"""What torch's operations do and draw: their schemas, the schemes of those that draw, and where they are called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from winit._core.scheme import Scheme, law_of
from winit.presets import torch as presets
from winit.torch.memory import KINDS

__all__ = [
    "OVERWRITE",
    "Schema",
    "generator_of",
    "law_of_random",
    "number_of",
    "schema_of",
    "scheme_of_call",
    "site",
    "without_generator",
]

_aten = torch.ops.aten
OVERWRITE = {_aten.copy_, _aten.zero_, _aten.fill_}


class Schema(NamedTuple):
    """What an operation does to its arguments."""

    writes: tuple[tuple[int, str], ...]  # positions and names of those that it writes
    returns: tuple[int | None, ...]  # what it returns: which of those, or something new
    view: bool
    random: bool  # whether it draws, or is not torch's own and may
    tensors: bool  # whether it returns tensors


_schemas: dict[Any, Schema] = {}
# What an operation writes without saying so.
_UNDECLARED = {_aten.native_batch_norm.default: ((3, "running_mean"), (4, "running_var"))}


def schema_of(func: Any) -> Schema:
    """Say what an operation does, from its schema."""
    found = _schemas.get(func)
    if found is None:
        schema = func._schema
        written = [
            (i, argument.name, argument.alias_info.before_set)
            for i, argument in enumerate(schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        returns = tuple(
            next(n for n, (_, _, names) in enumerate(written) if names & each.alias_info.before_set)
            if each.alias_info is not None and each.alias_info.is_write
            else None
            for each in schema.returns
        )
        view = any(each.alias_info is not None and not each.alias_info.is_write for each in schema.returns)
        kinds = [str(each.type) for each in schema.returns]
        found = _schemas[func] = Schema(
            _UNDECLARED.get(func) or tuple((i, name) for i, name, _ in written),
            returns,
            view,
            torch.Tag.nondeterministic_seeded in func.tags
            or (func.namespace not in ("aten", "prims") and bool(written or "Tensor" in kinds)),
            all("Tensor" in kind for kind in kinds),
        )
    return found


def number_of(value: Any) -> float | None:
    """A number, or a tensor of one number, as a float."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, torch.Tensor) and value.ndim == 0 and not value.is_complex() and not value.is_meta:
        return float(value)
    return None


def generator_of(args: Any, kwargs: Any) -> Any:
    """The generator that an operation is given, or None."""
    return next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Generator)), None)


def without_generator(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """An operation's arguments without the generator among them."""

    def dropped(value: Any) -> Any:
        return None if isinstance(value, torch.Generator) else value

    return tuple(map(dropped, args)), {key: dropped(value) for key, value in kwargs.items()}


def scheme_of_call(name: str, tensor: torch.Tensor, arguments: dict[str, Any]) -> Scheme | None:
    """The scheme of a call of torch.nn.init on a tensor; None where winit does not draw it."""
    if name == "eye_" and tensor.ndim != 2:
        return None
    try:
        scheme: Scheme = getattr(presets, name)(
            **{key: value for key, value in arguments.items() if key != "generator"}
        )
        law_of(scheme, tuple(tensor.shape), "oi", KINDS[tensor.dtype])
    except (TypeError, ValueError, KeyError):
        return None
    return scheme


def law_of_random(func: Any, args: Any, kwargs: Any, targets: Sequence[torch.Tensor]) -> Scheme | None:
    """The scheme of an operation that draws; None where it has no law of winit's."""
    like = targets[:1] or [arg for arg in args[:1] if isinstance(arg, torch.Tensor)]
    dtype = kwargs.get("dtype") or (like[0].dtype if like else torch.get_default_dtype())
    if KINDS.get(dtype) not in ("float32", "float64", "float16", "bfloat16"):
        return None
    name = func._overloadpacket.__name__
    try:
        scheme = _scheme_of_random(func, name, args, kwargs)
        if scheme is not None:
            law_of(scheme, (), "oi", KINDS[dtype])
    except (TypeError, ValueError):
        return None
    return scheme


def _scheme_of_random(func: Any, name: str, args: Any, kwargs: Any) -> Scheme | None:
    if name in ("randn", "randn_like"):
        return presets.normal_()
    if name in ("rand", "rand_like"):
        return presets.uniform_()
    if name == "normal_":
        return presets.normal_(*_given(func, args, kwargs, ("mean", "std")))
    if name == "uniform_":
        return presets.uniform_(*_given(func, args, kwargs, ("from", "to")))
    if name == "normal" and func._overloadname in ("float_float", "float_float_out"):
        return presets.normal_(*_given(func, args, kwargs, ("mean", "std")))
    return None


def _given(func: Any, args: Any, kwargs: Any, names: tuple[str, ...]) -> list[Any]:
    """The values of an operation's arguments of these names, defaults among them."""
    values = []
    for i, argument in enumerate(func._schema.arguments):
        if argument.name in names:
            values.append(args[i] if i < len(args) else kwargs.get(argument.name, argument.default_value))
    return values


def site() -> str:
    """Where the code of the user, or of their library of models, is that called."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        inside = module.startswith(("torch.", "winit.", "transformers.initialization")) and not module.startswith(
            "torch.nn.modules"
        )
        if not inside and module != "torch":
            return f"{module}:{frame.f_lineno}"
        frame = frame.f_back
    return "the constructor"
