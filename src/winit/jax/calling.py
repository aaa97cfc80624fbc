"""An initializer: a scheme under JAX's protocol, drawn by the host, where it is called or through a callback.

Eagerly an array is drawn where it stays. While a function is traced the draw is a jax.pure_callback, which the program
calls when it runs: the key's data go to the host, and the values come back.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from winit._core.bounds import Bound, Destination
from winit._core.checks import shown
from winit._core.drawing import draw
from winit._core.dtypes import FLOATS, dtype_name, numpy_dtype
from winit._core.keys import stream_key
from winit._core.laws import Law
from winit._core.running import run_bounds
from winit._core.scheme import Scheme, law_of
from winit._core.shapes import Shape, check_shape
from winit.jax.inside import check_inside, draw_inside
from winit.jax.keys import key_words, seed_of
from winit.jax.placing import Target, aligned, place, with_mesh
from winit.schemes import constant

__all__ = ["ConstantInitializer", "Initializer", "in_xla", "jax_dtype", "ones", "zeros"]


def jax_dtype(dtype: Any) -> str:
    """Return the name of the dtype that JAX makes of a caller's: None is its default, and 64 bits may be 32."""
    if dtype is None:
        return dtype_name(jax.dtypes.canonicalize_dtype(float))
    kind = dtype_name(dtype)
    have = jax.dtypes.canonicalize_dtype(numpy_dtype(kind)).name
    if have != kind:
        warnings.warn(
            f"dtype {kind} needs jax_enable_x64, and is {have} without it, as everywhere in JAX", stacklevel=3
        )
    return dtype_name(have)


def is_tracing() -> bool:
    """Whether a function is being traced, so that what is computed now is part of a program."""
    return isinstance(jnp.zeros(()), jax.core.Tracer)


@dataclass(frozen=True)
class Initializer:
    """A function (key, shape, dtype=None, out_sharding=None) -> jax.Array that draws a scheme's law.

    scheme : the law. dtype : what a call's None stands for, JAX's default where it is None too. inside : whether the
    draw stays inside XLA.
    """

    scheme: Scheme
    dtype: Any = None
    inside: bool = False

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        """Draw an array.

        Parameters
        ----------
        key : of jax.random, typed or raw, traced or not.
        shape : tuple or list of int. Fans are counted in it.
        dtype : of floating-point; None is the initializer's own.
        out_sharding : NamedSharding or PartitionSpec, or None. Eagerly every shard is drawn alone.

        """
        sizes = check_shape(shape)
        kind = jax_dtype(self.dtype if dtype is None else dtype)
        law = law_of(self.scheme, sizes, "io", kind)
        if self.inside:
            check_inside(self.scheme, law, kind, sizes)
        impl, words = key_words(key)
        if not self.inside:
            if not isinstance(words, jax.core.Tracer) and not is_tracing():
                return _now(law, stream_key(seed_of(impl, np.asarray(words))), sizes, kind, out_sharding)
            out = _later(law, impl, words, sizes, kind)
        else:
            out = draw_inside(impl, words, self.scheme, law, sizes, kind)
        return out if out_sharding is None else _resharded(out, out_sharding)


class ConstantInitializer:
    """What winit.jax.initializers.constant returns: one value, or an array that is broadcast; always inside XLA."""

    def __init__(self, value: Any, dtype: Any) -> None:
        self.value, self.dtype = value, dtype

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        """Return the constant; the key is not looked at."""
        kind = jax_dtype(self.dtype if dtype is None else dtype)
        value = self.value
        if isinstance(value, (int, float)) and not isinstance(value, bool) and kind in FLOATS:
            value = draw(constant(value), (), seed=0, dtype=kind)  # rounded as winit rounds it, once
        return jnp.full(shape, value, kind, out_sharding=out_sharding)

    def __repr__(self) -> str:
        return f"constant({self.value!r})" if self.dtype is None else f"constant({self.value!r}, {self.dtype!r})"


def zeros(key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """Return zeros; an initializer itself.

    >>> zeros(None, (2, 3)).shape
    (2, 3)
    """
    return jnp.zeros(shape, jax_dtype(dtype), out_sharding=out_sharding)


def ones(key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """Return ones; an initializer itself.

    >>> ones(None, 2).tolist()
    [1.0, 1.0]
    """
    return jnp.ones(shape, jax_dtype(dtype), out_sharding=out_sharding)


def _bind(law: Law, key: tuple[int, int], shape: Shape, kind: str, out: np.ndarray, box: Any) -> Bound:
    return law.bind(Destination(out, kind, key, shape, box))


def _now(law: Law, key: tuple[int, int], shape: Shape, kind: str, out_sharding: Any) -> jax.Array:
    # Without a sharding it is uncommitted, as all that JAX's own functions return.
    sharding = None if out_sharding is None else with_mesh(out_sharding, "out_sharding")
    return place([Target("out_sharding", shape, kind, sharding, partial(_bind, law, key, shape, kind))], None)[0]


def _resharded(out: jax.Array, sharding: Any) -> jax.Array:
    reshard: Any = jax.sharding.reshard
    return reshard(out, sharding)


def _later(law: Law, impl: str, words: Any, shape: Shape, kind: str) -> jax.Array:
    if jax.process_count() > 1:
        raise ValueError(
            "a traced initializer calls the host back, which on several processes gives all of them the first one's "
            "values: use winit.jax.in_xla(initializer), or winit.jax.materialize"
        )
    result: Any = jax.eval_shape(lambda: jnp.zeros(shape, kind))
    host = partial(_host, law, impl, shape, kind)
    return jax.pure_callback(host, result, words, vmap_method="expand_dims")


def _host(law: Law, impl: str, shape: Shape, kind: str, words: Any) -> np.ndarray:
    """Draw for one key's data, or for those of a batch."""
    data = np.asarray(words)
    batch = data.shape[: data.ndim - 1]  # every implementation's key data are one axis
    out = aligned((*batch, *shape), kind)
    streams = [stream_key(seed_of(impl, each)) for each in data.reshape(-1, data.shape[-1])]
    flat = out.reshape(len(streams), *shape)
    run_bounds([_bind(law, key, shape, kind, flat[i, ...], None) for i, key in enumerate(streams)], None)
    return out


def in_xla(initializer: Any) -> Any:
    """Return an initializer whose traced draws stay inside XLA, and have the same bits.

    Each element's word and transform are then a program of XLA's, for every device that rounds each operation: of
    the laws by element (zeros, ones and constants stay there anyhow), in float32, bfloat16 and float16. The first
    draw of each law and dtype in a process compares 16,381 values and more with winit's own, which takes half a
    second; a backend that gives other bits is an error.

    Parameters
    ----------
    initializer : what a function of winit.jax.initializers returns.

    Raises
    ------
    TypeError : no such initializer. When it is called: ValueError : an orthogonal law, float64, scales that XLA flushes
        to 0; RuntimeError : a backend that gives other bits.

    >>> import jax, numpy as np, winit.jax
    >>> init = winit.jax.initializers.lecun_normal()
    >>> inside = jax.jit(lambda key: winit.jax.in_xla(init)(key, (64, 32)))
    >>> np.array_equal(inside(jax.random.key(3)), init(jax.random.key(3), (64, 32)))
    True

    """
    if initializer is zeros or initializer is ones or isinstance(initializer, ConstantInitializer):
        return initializer
    if not isinstance(initializer, Initializer):
        raise TypeError(f"initializer must be one of winit.jax.initializers, not {shown(initializer)}")
    return replace(initializer, inside=True)
