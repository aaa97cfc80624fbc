"""Draws that stay inside XLA: which laws, the program, and the proof that a backend gives their bits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from winit._core.drawing import draw
from winit._core.keys import stream_key
from winit._core.laws import Constant, Normal, TruncatedNormal, Uniform
from winit._core.scheme import Scheme, law_of, shown_scheme
from winit._kernels import default_float_mode, numpy_points
from winit.jax import points
from winit.jax.hashing import philox_key
from winit.jax.keys import seed_of
from winit.schemes import normal, truncated_normal, uniform

__all__ = ["check_inside", "draw_inside"]

_DTYPES = ("float32", "bfloat16", "float16")
# XLA flushes subnormal numbers to 0. A z that is not 0 is above 2^-47 in magnitude, and a u above 2^-25, so that from
# this scale on no product of theirs is subnormal.
_SMALLEST_SCALE = 2.0**-79
_MOST = 1 << 34  # elements: blocks are counted by 32 bits
_ROW = 1024  # blocks
_OTHER_ROAD = "the initializer itself draws it, outside XLA"


def check_inside(scheme: Scheme, law: Any, kind: str, shape: tuple[int, ...]) -> None:
    """Raise for a law, a dtype or a size that XLA would not draw to the bit."""
    if not isinstance(law, (Constant, Uniform, Normal, TruncatedNormal)):
        raise ValueError(
            f"{shown_scheme(scheme)} is not drawn inside XLA, where each element must have its own word: {_OTHER_ROAD}"
        )
    if kind not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)} inside XLA, not {kind}: {_OTHER_ROAD}")
    if prod(shape) > _MOST:
        raise ValueError(f"shape {shape} has more than 2^34 elements, which is the most inside XLA")
    numbers = law.numbers(kind)
    if isinstance(law, Constant):
        return
    scale = numbers[1]
    if scale < _SMALLEST_SCALE and not (scale == 0 and not isinstance(law, Uniform)):
        raise ValueError(
            f"{shown_scheme(scheme)} has a scale of {scale:.3g}, where XLA flushes small values to 0: {_OTHER_ROAD}"
        )
    if isinstance(law, TruncatedNormal) and min(x for x in (*numbers[4:6], numbers[6] / 2) if x > 0) < 2.0**-100:
        raise ValueError(f"{shown_scheme(scheme)} has cuts so far out that XLA flushes its masses to 0: {_OTHER_ROAD}")


def draw_inside(impl: str, words: Any, scheme: Scheme, law: Any, shape: tuple[int, ...], kind: str) -> jax.Array:
    """Draw a law that check_inside lets pass, for a key that may be traced."""
    _check_backend(jax.default_backend(), type(law).__name__, kind)
    return _program(_philox_key(impl, words), law, shape, kind)


# Compiled on their own, so that a draw outside jit is one program and not hundreds; inside jit they are parts of it.
_philox_key = partial(jax.jit, static_argnums=0)(philox_key)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _program(key: tuple[Any, Any], law: Any, shape: tuple[int, ...], kind: str) -> jax.Array:
    numbers = law.numbers(kind)
    if isinstance(law, Constant):
        return jnp.full(shape, np.float32(numbers[0]), kind)
    guard = points.Guard(key[0])
    # Four words a block, along the last axis where they fit, so that shards of the others need nothing from elsewhere.
    # XLA's CPU compiler makes a slow loop, 65 ns a value and not 5, where the blocks are of one axis: they get two.
    blocks = (*shape[:-1], shape[-1] // 4) if shape else ()
    fits = bool(shape) and shape[-1] % 4 == 0 and sum(size > 1 for size in blocks) > 1
    if not fits:
        count = -(-prod(shape) // 4)
        blocks = (-(-count // _ROW), min(count, _ROW))
    index = jnp.zeros(blocks, jnp.uint32)
    step = 1
    for axis in reversed(range(len(blocks))):
        index = index + jax.lax.broadcasted_iota(jnp.uint32, blocks, axis) * np.uint32(step % (1 << 32))
        step *= blocks[axis]
    words = points.philox(index, key)
    if isinstance(law, Normal):
        first, second = jnp.stack(words[0::2], -1), jnp.stack(words[1::2], -1)
        values = jnp.stack(points.normal_pair(first, second, numbers, guard), -1)
    else:
        point = points.uniform if isinstance(law, Uniform) else points.truncated
        values = point(jnp.stack(words, -1), numbers, guard)
    out = points.rounded(values, kind)
    return out.reshape(shape) if fits else out.reshape(-1)[: prod(shape)].reshape(shape)


# ---- the proof

# Of each law, with a mean and without, and with values that narrow types round to subnormals.
_PROBES: dict[str, tuple[Scheme, ...]] = {
    "Constant": (),
    "Uniform": (uniform(-0.3, 0.7), uniform(0.0, 1e-2)),
    "Normal": (normal(0.0, 0.02), normal(0.1, 1.7), normal(0.0, 2.0**-18)),
    "TruncatedNormal": (truncated_normal(0.0, 0.0227), truncated_normal(0.3, 1.0, -1.0, 4.5)),
}
_COUNT = 16381  # elements of each: vectors, and a tail of no vector
_EDGES = (0, 1, 2, 255, 256, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30 - 1, 3 * 2**30, 2**32 - 256, 2**32 - 1)


@lru_cache(maxsize=64)
def _check_backend(backend: str, law: str, kind: str) -> None:
    """Compare a backend with winit's own draws, once a process: 16,381 values a probe, and all pairs of edge words."""
    with jax.ensure_compile_time_eval():
        wrong = [what for what, one, other in _compared(law, kind) if np.asarray(one).tobytes() != other.tobytes()]
    if wrong:
        raise RuntimeError(
            f"XLA's backend {backend!r} gives other bits than winit: {', '.join(wrong)}; its compiler does not round "
            "every operation. Use the initializer itself, or winit.jax.materialize"
        )


def _compared(law: str, kind: str) -> Iterator[tuple[str, Any, np.ndarray]]:
    """Give what is compared, as XLA and as winit draw it."""
    impl, data = "threefry2x32", np.array([1, 2], np.uint32)
    seed = seed_of(impl, data)
    key = _philox_key(impl, data)
    yield "the hash of a key", np.array(key, np.uint32), np.array(stream_key(seed), np.uint32)
    for scheme in _PROBES[law]:
        resolved = law_of(scheme, (_COUNT,), "io", kind)
        mine = draw(scheme, _COUNT, seed=seed, dtype=kind)
        yield f"{scheme} in {kind}", _program(key, resolved, (_COUNT,), kind), mine
    if law != "Normal" or kind != "float32":
        return
    a, b = (each.ravel() for each in np.meshgrid(np.array(_EDGES, np.uint32), np.array(_EDGES, np.uint32)))
    with default_float_mode():
        pair = np.float32(0) + np.stack(numpy_points.normal_pair(a, b))

    def edges(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.stack(points.normal_pair(a, b, (0.0, 1.0), points.Guard(a[0])))

    yield "normal() at edges", jax.jit(edges)(a, b), pair
