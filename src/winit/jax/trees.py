"""The leaves of JAX's trees: what they are called, and which of them are tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path, tree_structure

from winit._core.checks import shown
from winit._core.dtypes import dtype_name
from winit._plans.param import shown_name
from winit.jax.placing import is_tracing

__all__ = ["Leaf", "check_untraced", "leaves_of", "tensors_of"]

# Flax's boxes around one leaf, which add `.value` to its path: linen's metadata, and nnx's variables.
_WRAPPERS = ("AxisMetadata", "Variable", "VariableState")


class Leaf(NamedTuple):
    """A leaf of a tree: its name, its path as JAX prints it, and what it is."""

    name: str
    path: str
    value: Any

    @property
    def is_tensor(self) -> bool:
        """Whether it has a shape and a dtype; functions and numbers are leaves too, and are left alone."""
        return hasattr(self.value, "shape") and hasattr(self.value, "dtype")


def _is_wrapper(node: Any) -> bool:
    """Whether a node is one of flax's boxes, told by its class: a user's own attribute `value` is none."""
    return any(kind.__name__ in _WRAPPERS and kind.__module__.startswith("flax.") for kind in type(node).__mro__)


def _walk(node: Any, name: tuple[Any, ...], path: tuple[Any, ...]) -> Iterator[Leaf]:
    inside = _is_wrapper(node)
    for steps, child in tree_flatten_with_path(node, is_leaf=lambda each: each is not node and _is_wrapper(each))[0]:
        kept = steps[1:] if inside and keystr(steps[:1], simple=True) == "value" else steps
        if child is not node and _is_wrapper(child):
            yield from _walk(child, name + kept, path + steps)
        else:
            yield Leaf(keystr(name + kept, simple=True, separator="."), keystr(path + steps), child)


def leaves_of(tree: Any) -> tuple[list[Leaf], Any]:
    """Give every leaf of a tree, in JAX's own order, and the tree's structure.

    A name is the path with dots between its parts, `params.Dense_0.kernel`, without the `.value` of flax's boxes.

    Raises
    ------
    ValueError : two tensors of one name; no tensor at all; an object that holds tensors, and that JAX takes for a leaf.

    """
    leaves = list(_walk(tree, (), ()))
    found: dict[str, Leaf] = {}
    for leaf in leaves:
        if not leaf.is_tensor:
            _check_opaque(leaf)
            continue
        other = found.setdefault(leaf.name, leaf)
        if other is not leaf:
            raise ValueError(
                f"two leaves of the tree are called {shown(leaf.name)}: {other.path} and {leaf.path}; values depend on "
                "the name, so each must have its own"
            )
    if not found:
        raise ValueError(f"the tree has no leaf with a shape and a dtype: {shown(tree)}")
    return leaves, tree_structure(tree)


def _check_opaque(leaf: Leaf) -> None:
    value = leaf.value
    if callable(value):  # functions, classes, and initializers, which may hold a constant
        return
    parts = dict(getattr(value, "__dict__", {}))
    if dataclasses.is_dataclass(value):
        parts |= {each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)}
    held = [name for name, part in parts.items() if any(hasattr(each, "shape") for each in jax.tree.leaves(part))]
    if held:
        raise ValueError(
            f"{leaf.path or 'the tree'} is a {type(value).__name__}, which JAX does not look into, and holds "
            f"{', '.join(held)}: register it with jax.tree_util, by register_dataclass or register_pytree_node"
        )


def tensors_of(leaves: list[Leaf]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Give the shape and the dtype's name of each tensor, or say which cannot be drawn in this JAX."""
    found = {}
    for leaf in leaves:
        if not leaf.is_tensor:
            continue
        value = leaf.value
        try:
            extended = jnp.issubdtype(value.dtype, jax.dtypes.extended)
        except TypeError:  # another library's dtype
            raise TypeError(
                f"{shown_name(leaf.name)}: must be of JAX or NumPy, and is a {type(value).__module__}."
                f"{type(value).__name__} of dtype {shown(value.dtype)}"
            ) from None
        if extended:
            raise TypeError(
                f"{shown_name(leaf.name)}: is of dtype {value.dtype}, the state of a generator, which is no weight: "
                "leave it out of the tree (with flax.nnx, nnx.split(model, nnx.Param, ...))"
            )
        try:
            kind = dtype_name(value.dtype)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{shown_name(leaf.name)}: {error}") from None
        have = jax.dtypes.canonicalize_dtype(value.dtype)
        if have != value.dtype:
            raise ValueError(
                f"{shown_name(leaf.name)}: is of dtype {kind}, which this JAX makes {have}: set jax_enable_x64, or ask "
                f"for {have}"
            )
        found[leaf.name] = tuple(value.shape), kind
    return found


def check_untraced(leaves: list[Leaf], what: str) -> None:
    """Raise where a function is being traced: for a leaf that has no value yet, and for arrays of a program."""
    for leaf in leaves:
        if isinstance(leaf.value, jax.core.Tracer):
            raise TypeError(
                f"{shown_name(leaf.name)}: is traced; {what} works on the host: call it outside jit, grad and vmap"
            )
    if is_tracing():
        raise ValueError(
            f"{what} works on the host, and must be called outside jit and eval_shape: in a program its arrays would "
            "be constants, and without their shardings"
        )
