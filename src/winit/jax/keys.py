"""A JAX key to a winit stream: its data are the entropy, its implementation and shape are part of it.

The seed is BLAKE2b (digest_size 8, person `winit-jax-key-1`), read as a little-endian number, over the key's data as
little-endian 32-bit words, then the extents of the data and the number of their axes, as such words too, then the
implementation's name in UTF-8. The name of the stream is "". So two keys have one stream where JAX takes them for one:
fold_in(key, 0) is split(key)[0], and key(2**32) is key(0) without 64-bit types, because their data are equal.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from winit._core.checks import shown

__all__ = ["PERSON", "key_stream", "key_words", "seed_of", "tail_of"]

PERSON = b"winit-jax-key-1"


def key_words(key: Any) -> tuple[str, Any]:
    """Return a key's implementation and its data, uint32, traced or not."""
    dtype: Any = getattr(key, "dtype", None)
    if isinstance(key, (jax.Array, jax.core.Tracer)) and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if key.shape:
            raise ValueError(f"key must be one key, not an array of keys of shape {key.shape}: use jax.vmap")
        return str(jax.random.key_impl(key)), jax.random.key_data(key)
    if not isinstance(key, (jax.Array, jax.core.Tracer, np.ndarray)) or dtype != np.uint32:
        raise TypeError(f"key must be a key of jax.random, not {shown(key)}")
    impl = str(jax.config.jax_default_prng_impl)  # type: ignore[attr-defined]
    own = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))).shape
    if key.shape != own:
        raise ValueError(
            f"key must be one key: raw keys of {impl}, JAX's default, are of shape {own}, not {key.shape}; "
            "use jax.vmap for several"
        )
    return impl, key


def tail_of(impl: str, shape: tuple[int, ...]) -> bytes:
    """Return what is hashed after a key's data."""
    return np.array([*shape, len(shape)], "<u4").tobytes() + impl.encode()


def seed_of(impl: str, words: np.ndarray) -> int:
    """Return the seed of one key's data."""
    data = np.ascontiguousarray(words, "<u4").tobytes() + tail_of(impl, words.shape)
    return int.from_bytes(blake2b(data, digest_size=8, person=PERSON).digest(), "little")


def key_stream(key: Any) -> tuple[int, str]:
    """Return the seed and the name of the stream that a JAX key stands for.

    The seed is BLAKE2b(digest_size=8, person=b"winit-jax-key-1"), little-endian, over the key's data as little-endian
    32-bit words, the extents of the data and the number of their axes as such words, and the implementation's name. The
    name is "".

    Parameters
    ----------
    key : what jax.random.key or jax.random.PRNGKey returns; a raw key counts as one of JAX's default implementation.

    Raises
    ------
    TypeError : no key; one that is traced. ValueError : several keys.

    >>> import jax, numpy as np, winit, winit.jax
    >>> seed, name = winit.jax.key_stream(jax.random.key(0))
    >>> hex(seed), name
    ('0x100fd324b5f76b53', '')
    >>> init = winit.jax.initializers.he_normal()
    >>> mine = winit.draw(winit.presets.jax.he_normal(), (4, 3), seed=seed, name=name)
    >>> np.array_equal(init(jax.random.key(0), (4, 3)), mine)
    True

    """
    impl, words = key_words(key)
    if isinstance(words, jax.core.Tracer):
        raise TypeError("key is traced, and has no data yet: call key_stream outside jit and vmap")
    return seed_of(impl, np.asarray(words)), ""
