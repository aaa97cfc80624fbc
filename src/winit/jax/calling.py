"""An initializer: a scheme under JAX's protocol, drawn by the host, where it is called or through a callback.

Eagerly an array is drawn where it stays. While a function is traced the draw is a jax.pure_callback, which the program
calls when it runs: the key's data go to the host, and the values come back.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jax.sharding import NamedSharding, PartitionSpec

from winit._core.bounds import Bound, Destination
from winit._core.checks import shown
from winit._core.drawing import draw
from winit._core.dtypes import FLOATS, STORED, dtype_name, numpy_dtype
from winit._core.keys import stream_key
from winit._core.laws import Law
from winit._core.running import run_bounds
from winit._core.scheme import Scheme, law_of
from winit._core.shapes import Shape, check_shape
from winit.jax.inside import check_inside, draw_inside
from winit.jax.keys import key_words, seed_of
from winit.jax.placing import Target, aligned, check_out_sharding, in_use, is_tracing, place, sharding_of, with_mesh
from winit.schemes import constant

__all__ = ["ConstantInitializer", "Initializer", "in_xla", "jax_dtype", "ones", "zeros"]

_OTHER_ROADS = (
    "a traced initializer calls the host back, which on several processes gives all of them the first one's values: it "
    "needs winit.jax.in_xla(initializer), or winit.jax.materialize"
)
# What JAX has besides winit's dtypes, and zeros, ones and constants are made in.
_NARROW = {name for name in dir(jnp) if re.fullmatch(r"u?int[24]|float[48]_\w+", name)}


def jax_dtype(dtype: Any) -> str:
    """Return the name of the dtype that JAX makes of a caller's: None is its default, and 64 bits may be 32."""
    if dtype is None:
        dtype = float
    if any(dtype is each for each in (bool, int, float, complex)):  # Python's own are those of JAX's default size
        return dtype_name(jax.dtypes.canonicalize_dtype(dtype))
    kind = dtype_name(dtype)
    have = jax.dtypes.canonicalize_dtype(numpy_dtype(kind)).name
    if have != kind:
        warnings.warn(
            f"dtype {kind} needs jax_enable_x64, and is {have} without it, as everywhere in JAX", stacklevel=3
        )
    return dtype_name(have)


def _check_own(dtype: Any) -> None:
    """Raise for what an initializer's own dtype cannot be; which one it is JAX's settings say when it is called."""
    if dtype is None or any(dtype is each for each in (bool, int, float, complex)) or _narrow(dtype):
        return
    dtype_name(dtype)


def _narrow(dtype: Any) -> str | None:
    """Return the name of a dtype that JAX has and winit does not draw, or None."""
    name = getattr(dtype, "name", getattr(dtype, "__name__", dtype))
    return name if isinstance(name, str) and name in _NARROW - set(FLOATS) else None


@dataclass(frozen=True)
class Initializer:
    """A function (key, shape, dtype=None, out_sharding=None) -> jax.Array that draws a scheme's law.

    scheme : the law. dtype : what a call's None stands for, JAX's default where it is None too. inside : whether the
    draw stays inside XLA.
    """

    scheme: Scheme
    dtype: Any = None
    inside: bool = False

    def __post_init__(self) -> None:
        _check_own(self.dtype)

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        """Draw an array.

        Parameters
        ----------
        key : of jax.random, typed or raw, traced or not. Of one that is committed to devices the array is there too.
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
        traced = self.inside or isinstance(words, jax.core.Tracer) or is_tracing()
        check_out_sharding(out_sharding, sizes, traced)
        if not traced:
            where = out_sharding if out_sharding is not None else _where(words)
            return _now(law, stream_key(seed_of(impl, np.asarray(words))), sizes, kind, where)
        if self.inside:
            out = draw_inside(impl, words, self.scheme, law, sizes, kind)
        else:
            out = _later(law, impl, words, sizes, kind)
        return out if out_sharding is None else _resharded(out, out_sharding)


class ConstantInitializer:
    """What winit.jax.initializers.constant returns: one value, or an array that is broadcast; always inside XLA."""

    def __init__(self, value: Any, dtype: Any) -> None:
        if isinstance(value, (jax.Array, np.ndarray)):
            right = jnp.issubdtype(value.dtype, np.number) or value.dtype == bool
        else:
            try:
                right = bool(constant(value))
            except TypeError:
                right = False
            except ValueError:  # of infinities and NaN, which JAX takes, and of integers that no dtype has
                if not _is_endless(value):
                    raise
                right = True
        if not right:
            raise TypeError(f"value must be a number or an array of numbers, not {shown(value)}")
        _check_own(dtype)
        self.value, self.dtype = value, dtype

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        """Return the constant; the key is not looked at."""
        sizes, kind = _checked(shape, self.dtype if dtype is None else dtype, out_sharding)
        return jnp.full(sizes, _in_dtype(self.value, kind, sizes), kind, out_sharding=out_sharding)

    def __repr__(self) -> str:
        return f"constant({self.value!r})" if self.dtype is None else f"constant({self.value!r}, {self.dtype!r})"


def zeros(key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """Return zeros; an initializer itself.

    >>> zeros(None, (2, 3)).shape
    (2, 3)
    """
    sizes, kind = _checked(shape, dtype, out_sharding)
    return jnp.zeros(sizes, kind, out_sharding=out_sharding)


def ones(key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """Return ones; an initializer itself.

    >>> ones(None, 2).tolist()
    [1.0, 1.0]
    """
    sizes, kind = _checked(shape, dtype, out_sharding)
    return jnp.ones(sizes, kind, out_sharding=out_sharding)


def _checked(shape: Sequence[int], dtype: Any, out_sharding: Any) -> tuple[Shape, str]:
    """Return what zeros, ones and constants are called with: their shape and their dtype's name."""
    sizes = check_shape(shape)
    kind = _narrow(dtype) or jax_dtype(dtype)
    check_out_sharding(out_sharding, sizes)
    return sizes, kind


def _is_endless(value: Any) -> bool:
    """Whether a plain number is infinite or NaN."""
    return isinstance(value, (float, np.floating)) and not np.isfinite(value)


def _in_dtype(value: Any, kind: str, shape: Shape) -> Any:
    """Return a constant that the dtype holds: integers as they are, and no number beyond its range."""
    if not isinstance(value, (jax.Array, np.ndarray)):
        if kind in STORED and not _is_endless(value):
            return draw(constant(value), (), seed=0, dtype=kind)
        value = np.asarray(value)
    try:
        fits = np.broadcast_shapes(value.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"value must broadcast to the shape {shape}, and is of shape {value.shape}")
    if isinstance(value, jax.core.Tracer):
        return value
    held, dtype = np.asarray(value), jnp.dtype(kind)
    if jnp.issubdtype(dtype, np.complexfloating):
        return value
    lost = held.imag != 0
    with np.errstate(all="ignore"):
        cast = held.real.astype(dtype)
        if jnp.issubdtype(dtype, np.floating):
            back = cast.astype(np.float64)
            lost = lost | ~(np.isfinite(back) | (back == held.real) | np.isnan(held.real))
        else:
            lost = lost | (cast.astype(held.real.dtype) != held.real)
    if lost.any():
        raise ValueError(f"value must be one that {kind} has, not {held[lost].flat[0]}")
    return value if isinstance(value, jax.Array) else cast


def _bind(law: Law, key: tuple[int, int], shape: Shape, kind: str, out: np.ndarray, box: Any) -> Bound:
    return law.bind(Destination(out, kind, key, shape, box))


def _where(words: jax.Array | np.ndarray) -> Any:
    """Return where a key's data bind what is made of them, as in JAX: on all devices of a key that is committed."""
    sharding = in_use()
    if sharding is None and isinstance(words, jax.Array):
        sharding = sharding_of(words)
        if isinstance(sharding, NamedSharding):
            everywhere: Any = PartitionSpec
            sharding = NamedSharding(sharding.mesh, everywhere())
    return sharding


def _now(law: Law, key: tuple[int, int], shape: Shape, kind: str, out_sharding: Any) -> jax.Array:
    # Without a sharding, a mesh and a committed key it is uncommitted, as all that JAX's own functions return.
    sharding = None if out_sharding is None else with_mesh(out_sharding, "out_sharding")
    return place([Target("out_sharding", shape, kind, sharding, partial(_bind, law, key, shape, kind))], None)[0]


def _resharded(out: jax.Array, sharding: Any) -> jax.Array:
    reshard: Any = jax.sharding.reshard
    return reshard(out, sharding)


def _later(law: Law, impl: str, words: Any, shape: Shape, kind: str) -> jax.Array:
    if jax.process_count() > 1:
        made: jax.Array = _refused.bind(words, shape=shape, kind=kind)
        return made
    result: Any = jax.eval_shape(lambda: jnp.zeros(shape, kind))
    host = partial(_host, law, impl, shape, kind)
    return jax.pure_callback(host, result, words, vmap_method="expand_dims")


# On several processes a draw may be traced, as eval_shape and flax's apply do, and may not be compiled.
_refused: Any = Primitive("winit_draw")


def _shape_of_refused(words: Any, *, shape: Shape, kind: str) -> Any:
    return jax.core.ShapedArray((*words.shape[:-1], *shape), numpy_dtype(kind))


def _batch_refused(given: tuple[Any], axes: tuple[int], *, shape: Shape, kind: str) -> tuple[Any, int]:
    return _refused.bind(jnp.moveaxis(given[0], axes[0], 0), shape=shape, kind=kind), 0


def _compile_refused(context: Any, words: Any, *, shape: Shape, kind: str) -> Any:
    raise ValueError(_OTHER_ROADS)


_refused.def_abstract_eval(_shape_of_refused)
batching.primitive_batchers[_refused] = _batch_refused
mlir.register_lowering(_refused, _compile_refused)


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
