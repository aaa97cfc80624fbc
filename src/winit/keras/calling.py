"""What the initializers of winit.keras share: seeds, configurations, and the draw."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from winit._core.checks import check_text, integer_of, shown
from winit._core.drawing import draw
from winit._core.dtypes import dtype_name
from winit._core.keys import stream_key
from winit._core.scheme import Scheme
from winit._core.shapes import check_shape

__all__ = ["Drawn", "Fixed", "tensor_of"]


def _checked_dtype(dtype: Any) -> str:
    """Return Keras's name of a dtype."""
    try:
        return str(keras.backend.standardize_dtype(dtype))
    except Exception:  # Keras compares and prints what it is given, and a caller's own object may raise anything
        raise TypeError(f"dtype must be one of Keras's, such as 'float32', or None, not {shown(dtype)}") from None


def tensor_of(array: np.ndarray, kind: str) -> Any:
    """Return a drawn array as a tensor of Keras's backend: torch takes no float8 from NumPy, and its bytes instead."""
    if keras.backend.backend() == "torch" and kind.startswith("float8"):
        import torch

        return keras.ops.convert_to_tensor(torch.from_numpy(array.view(np.uint8)).view(getattr(torch, kind)))
    return keras.ops.convert_to_tensor(array, dtype=kind)


def _is_tracing() -> bool:
    """Whether JAX is tracing a function, so that what Keras computes is part of a program."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return isinstance(keras.ops.zeros(()), jax.core.Tracer)


class Fixed(keras.initializers.Initializer):  # type: ignore[misc]
    """An initializer of a law that no seed changes; given: its parameters, by name."""

    def __init__(self, scheme: Scheme, **given: Any) -> None:
        self.scheme = scheme
        self._given = given

    def _stream(self) -> tuple[int, str]:
        return 0, ""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Draw a tensor of the backend; None stands for keras.config.floatx()."""
        kind = _checked_dtype(dtype)
        shape = check_shape(shape)
        seed, name = self._stream()
        array = draw(self.scheme, shape, seed=seed, name=name, dtype=dtype_name(kind), layout="io")
        return tensor_of(array, kind)

    def get_config(self) -> dict[str, Any]:
        """Return what from_config makes an equal initializer of."""
        return dict(self._given)

    def __repr__(self) -> str:
        written = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({written})"


class Drawn(Fixed):
    """An initializer with a seed.

    seed : int, 0 <= seed < 2^64, and then all calls draw one stream; None, an int from Python's random, which
        keras.utils.set_random_seed seeds; or keras.random.SeedGenerator, and then each call draws a stream of its own.
    name : of the stream.
    """

    def __init__(self, scheme: Scheme, seed: Any, name: str, **given: Any) -> None:
        super().__init__(scheme, **given)
        self.name = check_text(name, "name")
        if isinstance(seed, dict):
            seed = keras.saving.deserialize_keras_object(seed)
        if seed is not None and not isinstance(seed, keras.random.SeedGenerator):
            plain = integer_of(seed)
            if plain is None:
                raise TypeError(f"seed must be an integer, a keras.random.SeedGenerator or None, not {shown(seed)}")
            stream_key(plain)
            seed = plain
        self._init_seed = seed
        self.seed = random.randrange(1, 10**9) if seed is None else seed  # as Keras draws its own

    def _stream(self) -> tuple[int, str]:
        seed = self.seed
        if isinstance(seed, keras.random.SeedGenerator):
            if _is_tracing():
                raise TypeError(
                    "seed is a SeedGenerator, which has no number while a function is traced: build the model outside "
                    "jit, or give an int"
                )
            first, second = (int(word) & 0xFFFFFFFF for word in keras.ops.convert_to_numpy(seed.next()))
            seed = first | second << 32
        stream_key(seed, self.name)
        return seed, self.name

    def get_config(self) -> dict[str, Any]:
        seed = self._init_seed
        if isinstance(seed, keras.random.SeedGenerator):
            seed = keras.saving.serialize_keras_object(seed)
        return {**super().get_config(), "seed": seed, "name": self.name}
