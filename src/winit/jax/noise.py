"""Noise for the leaves of a tree, where they are: what evolution strategies add, and take away again."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from winit._core.bounds import Bound, Destination
from winit._core.checks import check_number, check_text, check_threads, shown
from winit._core.dtypes import FLOATS, scale_in
from winit._core.keys import stream_key
from winit._core.layouts import Layout, check_layout
from winit._core.scheme import Scheme, check_scheme, law_of
from winit._plans.param import shown_name
from winit.jax.placing import Target, box_of, place, sharding_of
from winit.jax.trees import Leaf, check_untraced, leaves_of, tensors_of

__all__ = ["add"]


def add(
    tree: Any,
    scheme: Scheme,
    *,
    seed: int,
    name: str,
    scale: float = 1.0,
    layout: Layout = "io",
    threads: int | None = None,
) -> Any:
    """Return a tree with scale times a scheme's values added to each array, shard by shard.

    The noise of a leaf is that of the tensor `name/` and the leaf's name, so that it is the same on every mesh, and
    winit.add gives the same sums to a host's own arrays. With -scale it is taken away again, to one rounding each.

    Parameters
    ----------
    tree : of jax.Arrays of floating-point numbers, sharded or not; leaves without a shape are returned as they are.
    scheme : a winit scheme, such as winit.normal().
    seed : int, 0 <= seed < 2^64.
    name : str. Of the noise, such as "step 3": noise under a weight's own seed and name would repeat its words.
    scale : float, finite.
    layout : "io", "oi" or winit.Axes; for schemes that have fans.
    threads : int or None, the processors this process may use.

    Returns
    -------
    The tree of new arrays, with the shardings of the old ones.

    Raises
    ------
    TypeError, ValueError : an empty name, leaves that are not jax.Arrays of floating-point numbers, a traced one, two
        of one name, a deleted one, a call inside jit: nothing is drawn then.

    >>> import jax.numpy as jnp, numpy as np, winit, winit.jax
    >>> params = {"fc": jnp.ones((2, 3))}
    >>> noisy = winit.jax.add(params, winit.normal(), seed=7, name="step 0", scale=0.5)
    >>> alone = winit.add(np.ones((2, 3), np.float32), winit.normal(), seed=7, name="step 0/fc", scale=0.5)
    >>> np.array_equal(noisy["fc"], alone)
    True

    """
    check_scheme(scheme)
    scale = check_number(scale, "scale")
    if not check_text(name, "name"):
        raise ValueError("the noise of a tree needs a name, which with each leaf's own keys its stream")
    stream_key(seed, name)
    check_layout(layout)
    threads = check_threads(threads)
    leaves, structure = leaves_of(tree)
    check_untraced(leaves, "add")
    tensors = tensors_of(leaves)
    targets = [
        _target(leaf, tensors[leaf.name][1], scheme, stream_key(seed, f"{name}/{leaf.name}"), scale, layout)
        for leaf in leaves
        if leaf.is_tensor
    ]
    arrays = iter(place(targets, threads))
    return jax.tree.unflatten(structure, [next(arrays) if leaf.is_tensor else leaf.value for leaf in leaves])


def _target(leaf: Leaf, kind: str, scheme: Scheme, key: tuple[int, int], scale: float, layout: Layout) -> Target:
    value = leaf.value
    if not isinstance(value, jax.Array):
        raise TypeError(f"{shown_name(leaf.name)}: must be a jax.Array, not {shown(type(value).__name__)}")
    if value.is_deleted():
        raise ValueError(f"{shown_name(leaf.name)}: has been deleted, or donated, and has no values to add to")
    if kind not in FLOATS:
        raise TypeError(f"{shown_name(leaf.name)}: is of dtype {kind}, and noise is floating-point")
    try:
        rounded = scale_in(kind, scale)
        law = law_of(scheme, tuple(value.shape), layout, kind)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{shown_name(leaf.name)}: {error}") from None
    return Target(
        leaf.name, tuple(value.shape), kind, sharding_of(value), partial(_bind, value, law, kind, key, rounded)
    )


def _bind(
    value: jax.Array,
    law: Any,
    kind: str,
    key: tuple[int, int],
    scale: float,
    out: np.ndarray,
    box: tuple[slice, ...],
) -> Bound:
    """Copy a shard's values to memory of their own, and bind noise to them."""
    ends = box_of(box, value.shape)
    shard = next(each for each in value.addressable_shards if box_of(each.index, value.shape) == ends)
    out[...] = np.asarray(shard.data)
    bound: Bound = law.bind(Destination(out, kind, key, tuple(value.shape), box, scale))
    return bound
