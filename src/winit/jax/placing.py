"""Arrays from boxes: each distinct box of each tensor is drawn once, and every device has memory of its own.

JAX runs all callbacks of jax.make_array_from_callback before it uses a buffer of theirs, and takes over a buffer that
lies at a multiple of 64 bytes instead of copying it. So no buffer is used twice, and all lie at such multiples: on the
CPU an array is then drawn where it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec, Sharding

from winit._core.bounds import Bound, Whole
from winit._core.checks import shown
from winit._core.dtypes import itemsize, numpy_dtype
from winit._core.running import run_bounds
from winit._plans.param import shown_name

__all__ = [
    "Target",
    "aligned",
    "box_of",
    "check_out_sharding",
    "in_use",
    "is_tracing",
    "place",
    "sharding_of",
    "shardings_for",
    "with_mesh",
]

# Bytes that are drawn as one batch over all threads before they become arrays. Devices other than the CPU copy them, so
# that this is what the host needs besides; a batch should be long beside the 0.2 ms that starting threads takes.
_BATCH = 256 << 20
_ALIGNMENT = 64  # XLA's: less, and the CPU's client copies

_OWN = object()  # the sharding of a leaf of which a caller says nothing

_Box = tuple[slice, ...]


class Target(NamedTuple):
    """A tensor to make: what it is, where it goes, and what binds a box of it to memory that stands for the box."""

    name: str
    shape: tuple[int, ...]
    kind: str  # the dtype's name
    sharding: Any  # None: JAX's default device, and uncommitted
    bind: Callable[[np.ndarray, _Box], Bound]


def aligned(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Return new memory that JAX's CPU client takes over without a copy."""
    dtype, count = numpy_dtype(kind), prod(shape)
    raw = np.empty(count * dtype.itemsize + _ALIGNMENT, np.uint8)
    skip = -raw.ctypes.data % _ALIGNMENT
    return raw[skip : skip + count * dtype.itemsize].view(dtype).reshape(shape)


def is_tracing() -> bool:
    """Whether a function is being traced, so that what is computed now is part of a program."""
    return isinstance(jnp.zeros(()), jax.core.Tracer)


# ---- shardings


def check_out_sharding(sharding: Any, shape: tuple[int, ...], traced: bool = True) -> None:
    """Raise for what an initializer's out_sharding may not be; JAX itself knows but two kinds while it traces."""
    if sharding is None:
        return
    if not isinstance(sharding, (NamedSharding, PartitionSpec) if traced else (Sharding, PartitionSpec)):
        raise TypeError(f"out_sharding must be a NamedSharding, a PartitionSpec or None, not {shown(sharding)}")
    spec = sharding if isinstance(sharding, PartitionSpec) else getattr(sharding, "spec", ())
    if len(spec) > len(shape):
        raise ValueError(f"out_sharding {spec} must have at most as many axes as the shape {shape}")
    if isinstance(sharding, PartitionSpec) and jax.sharding.get_abstract_mesh().empty:
        raise ValueError(f"out_sharding {spec} needs a mesh: give a NamedSharding, or call within jax.set_mesh(mesh)")


def in_use() -> Any:
    """Return where JAX's own functions put an array of which nothing is said: all over jax.set_mesh's mesh, or None."""
    around = jax.sharding.get_abstract_mesh()
    if around.empty or around.manual_axes:  # within jax.shard_map an array is one device's
        return None
    placed = jnp.zeros(()).sharding  # jax.sharding.get_mesh may not be asked within jax.vmap
    return placed if isinstance(placed, NamedSharding) else None


def with_mesh(sharding: Any, name: str) -> Any:
    """A caller's sharding as one over devices: specs, and what eval_shape leaves, need the mesh in use."""
    if isinstance(sharding, PartitionSpec):
        spec = sharding
    elif isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, AbstractMesh):
        spec = sharding.spec
    else:
        return sharding
    around = in_use()
    if around is None:
        raise ValueError(
            f"{shown_name(name)}: its sharding {spec} says no devices: give a NamedSharding, or call within "
            "jax.set_mesh(mesh)"
        )
    return NamedSharding(around.mesh, spec)


def sharding_of(leaf: Any) -> Any:
    """Return where a leaf itself says that it must be; None where it is anywhere, and may be moved by JAX."""
    return getattr(leaf, "sharding", None) if getattr(leaf, "committed", True) else None


def _is_sharding(node: Any) -> bool:
    return node is None or isinstance(node, (Sharding, PartitionSpec))


def shardings_for(tree: Any, names: list[str], shardings: Any) -> list[Any]:
    """Return one sharding over devices, or None, for each leaf of a tree, in order.

    shardings: None, a Sharding or PartitionSpec for all, or a tree of them that is a prefix of the tree, as
    flax.linen.get_sharding returns. None stands for what the leaf itself says; where that is nothing, it is returned.
    """
    values = jax.tree.leaves(tree)
    if _is_sharding(shardings):
        given = [shardings] * len(values)
    else:
        try:
            # A None of the tree is no leaf of it, and one of the shardings is: they must not look alike.
            own = jax.tree.map(lambda each: _OWN if each is None else each, shardings, is_leaf=_is_sharding)
            spread = jax.tree.broadcast(own, tree, is_leaf=_is_sharding)
        except ValueError as error:
            raise ValueError(
                "shardings must be one for all leaves, or a tree of them that is a prefix of the tree: "
                + " ".join(str(error).split())
            ) from None
        spread = jax.tree.leaves(spread, is_leaf=lambda each: each is not None and _is_sharding(each))
        given = [None if each is _OWN else each for each in spread]
    found = []
    for name, value, own in zip(names, values, given, strict=True):
        if not _is_sharding(own):
            raise TypeError(f"{shown_name(name)}: its sharding must be a jax.sharding.Sharding, not {shown(own)}")
        found.append(with_mesh(sharding_of(value) if own is None else own, name))
    return found


def box_of(index: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return JAX's index of a shard as the ends of its box: slice(None) stands for all of an axis."""
    return tuple(part.indices(size)[:2] for part, size in zip(index, shape, strict=True))


def _check(target: Target) -> None:
    """Raise JAX's own reason why a sharding does not fit a shape, before anything is drawn."""
    if target.sharding is None:
        return
    partial = getattr(getattr(target.sharding, "spec", None), "unreduced", None)
    if partial:
        raise ValueError(
            f"{shown_name(target.name)}: its sharding is unreduced over {', '.join(sorted(map(str, partial)))}: shards "
            "that are yet to be summed have no values that could be drawn"
        )
    try:
        if hasattr(target.sharding, "check_compatible_aval"):
            target.sharding.check_compatible_aval(target.shape)
        target.sharding.shard_shape(target.shape)
    except ValueError as error:
        raise ValueError(f"{shown_name(target.name)}: {error}") from None


# ---- drawing


class _Drawn:
    """One tensor's boxes on this host, bound to memory; gives each device its own."""

    def __init__(self, target: Target) -> None:
        self.target = target
        indices: Iterable[Any] = [(slice(None),) * len(target.shape)]
        if target.sharding is not None:
            indices = target.sharding.addressable_devices_indices_map(target.shape).values()
        self.boxes = {box: aligned(tuple(hi - lo for lo, hi in box), target.kind) for box in self._ends(indices)}
        self.bounds = [target.bind(out, tuple(slice(*ends) for ends in box)) for box, out in self.boxes.items()]
        self.given: set[Any] = set()
        wholes = [bound for bound in self.bounds if isinstance(bound, Whole)]
        if wholes:  # a tensor whose elements depend on each other is made once, and its boxes are cut out of it
            made = cache(wholes[0].make)
            for bound in wholes:
                bound.make = made

    def _ends(self, indices: Iterable[Any]) -> list[tuple[tuple[int, int], ...]]:
        return list(dict.fromkeys(box_of(index, self.target.shape) for index in indices))

    def _callback(self, index: Any) -> np.ndarray:
        box = box_of(index, self.target.shape)
        out = self.boxes[box]
        if box not in self.given:
            self.given.add(box)
            return out
        copy = aligned(out.shape, self.target.kind)  # a replica: two devices must not share memory
        copy[...] = out
        return copy

    def array(self) -> jax.Array:
        target = self.target
        if target.sharding is None:  # uncommitted, as what JAX's own functions return: it may meet arrays of any mesh
            return jax.device_put(*self.boxes.values())
        return jax.make_array_from_callback(
            target.shape, target.sharding, self._callback, dtype=numpy_dtype(target.kind)
        )


def _batches(targets: Iterable[Target]) -> Iterator[list[Target]]:
    """Cut tensors into batches of so many bytes, as far as each is less than that itself."""
    batch: list[Target] = []
    held = 0
    for target in targets:
        size = itemsize(target.kind) * prod(target.shape)
        if target.sharding is not None:
            size = itemsize(target.kind) * prod(target.sharding.shard_shape(target.shape))
            size *= max(len(target.sharding.addressable_devices), 1)
        if batch and held + size > _BATCH:
            yield batch
            batch, held = [], 0
        batch.append(target)
        held += size
    if batch:
        yield batch


def place(targets: list[Target], threads: int | None) -> list[jax.Array]:
    """Draw every box that this host holds, and return one array a target.

    Raises
    ------
    ValueError : a sharding that does not fit its tensor; nothing is drawn then.

    """
    for target in targets:
        _check(target)
    arrays = []
    for batch in _batches(targets):
        drawn = [_Drawn(target) for target in batch]
        together = []
        for each in drawn:
            if any(isinstance(bound, Whole) for bound in each.bounds):
                run_bounds(each.bounds, threads)
                each.bounds = []  # and with them goes the tensor in one piece
            else:
                together += each.bounds
        run_bounds(together, threads)
        arrays += [each.array() for each in drawn]
    return arrays
