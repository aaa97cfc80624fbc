"""From an abstract tree to arrays on devices: every host draws its own shards alone."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import numpy as np

from winit._core.bounds import Bound
from winit._core.checks import check_threads
from winit._core.keys import stream_key
from winit._plans.foreign import plan_for
from winit._plans.param import Param, Rule
from winit._plans.plan import Plan
from winit.jax.placing import Target, place, shardings_for
from winit.jax.trees import Leaf, check_untraced, leaves_of, tensors_of

__all__ = ["materialize", "plan"]


def plan(tree: Any, rules: Iterable[Rule | tuple[Any, ...]]) -> Plan:
    """Return the plan of an abstract tree, which `winit init` and Plan.write write, and `winit verify` proves.

    Names are the paths of the tree's leaves with dots between their parts, `params.Dense_0.kernel`, without the
    `.value` of flax's boxes. Shapes and dtypes are the leaves' own. The layout is "io", (*spatial, in, out), where a
    rule says no other: equinox's weights are (out, in), which is "oi".

    Parameters
    ----------
    tree : what jax.eval_shape, flax.nnx.eval_shape or equinox.filter_eval_shape returns; or a tree of arrays, whose
        values are not looked at. Leaves without a shape, such as functions, are left out.
    rules : as of winit.Plan.

    Raises
    ------
    TypeError, ValueError : two leaves of one name; a leaf that is the key of a generator; a dtype that needs
        jax_enable_x64; as winit.Plan.

    >>> import jax, winit, winit.jax
    >>> tree = {"fc": {"kernel": jax.ShapeDtypeStruct((784, 300), "bfloat16")}}
    >>> winit.jax.plan(tree, [("*.kernel", winit.he_normal())])["fc.kernel"]
    Param(shape=(784, 300), scheme=he_normal(), dtype='bfloat16', layout='io')

    """
    leaves, _ = leaves_of(tree)
    return plan_for(tensors_of(leaves), rules, "tree")


def materialize(
    tree: Any,
    plan_or_rules: Plan | Iterable[Rule | tuple[Any, ...]],
    *,
    seed: int,
    shardings: Any = None,
    threads: int | None = None,
) -> Any:
    """Draw the arrays of an abstract tree, each shard by itself: the same bits on every mesh and number of processes.

    They are what Plan.build and `winit init` draw of the same plan. Each host draws the shards of its own devices, each
    distinct one once, and holds no more than these. A tensor whose elements depend on each other (orthogonal) is made
    on every host that has a shard of it, one such tensor at a time.

    Parameters
    ----------
    tree : what jax.eval_shape, flax.nnx.eval_shape or equinox.filter_eval_shape returns. Leaves without a shape are
        returned as they are.
    plan_or_rules : winit.Plan with the tree's names, shapes and dtypes; or rules as winit.jax.plan takes them, of which
        the layout is "io" unless they say another.
    seed : int, 0 <= seed < 2^64.
    shardings : jax.sharding.Sharding or PartitionSpec for all leaves, or a tree of them that is a prefix of `tree`;
        None, there too, is what the leaf's own `sharding` says, and else JAX's default device.
    threads : int or None, the processors this process may use.

    Returns
    -------
    The tree with a jax.Array in the place of each abstract leaf.

    Raises
    ------
    TypeError, ValueError : names that plan and tree do not share (all are named), another shape or dtype, a sharding
        that does not divide the shape (with JAX's reason), a rule of another dtype than its leaf's, a call inside jit
        or eval_shape, as winit.jax.plan: nothing is drawn then.

    >>> import jax, numpy as np, winit, winit.jax
    >>> mesh = jax.make_mesh((1,), ("model",))
    >>> tree = {"fc": {"kernel": jax.ShapeDtypeStruct((784, 300), "float32")}}
    >>> rules = [("*.kernel", winit.he_normal())]
    >>> sharding = jax.NamedSharding(mesh, jax.P(None, "model"))
    >>> params = winit.jax.materialize(tree, rules, seed=0, shardings=sharding)
    >>> whole = winit.jax.plan(tree, rules).build(seed=0)["fc.kernel"]
    >>> np.array_equal(params["fc"]["kernel"], whole), params["fc"]["kernel"].sharding == sharding
    (True, True)

    """
    stream_key(seed)
    threads = check_threads(threads)
    leaves, structure = leaves_of(tree)
    check_untraced(leaves, "materialize")
    tensors = tensors_of(leaves)
    complete = plan_for(tensors, plan_or_rules, "tree")
    where = shardings_for(tree, [leaf.name for leaf in leaves], shardings)
    targets = [
        _target(complete, leaf, sharding, seed) for leaf, sharding in zip(leaves, where, strict=True) if leaf.is_tensor
    ]
    arrays = iter(place(targets, threads))
    return jax.tree.unflatten(structure, [next(arrays) if leaf.is_tensor else leaf.value for leaf in leaves])


def _target(complete: Plan, leaf: Leaf, sharding: Any, seed: int) -> Target:
    param = complete[leaf.name]
    if param.tied is not None:
        param = complete[param.tied]
    return Target(
        leaf.name,
        param.shape,
        param.dtype,
        sharding,
        partial(_bind, param, stream_key(seed, complete.key(leaf.name))),
    )


def _bind(param: Param, key: tuple[int, int], out: np.ndarray, box: tuple[slice, ...]) -> Bound:
    return param.bind(out, key, box)
