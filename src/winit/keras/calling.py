"""What the initializers of winit.keras share: seeds, configurations, and the draw."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import keras

from winit._core.checks import check_text, integer_of, shown
from winit._core.drawing import draw
from winit._core.dtypes import dtype_name
from winit._core.keys import stream_key
from winit._core.scheme import Scheme

__all__ = ["Drawn", "Fixed"]


class Fixed(keras.initializers.Initializer):  # type: ignore[misc]
    """An initializer of a law that no seed changes; given: its parameters, by name."""

    def __init__(self, scheme: Scheme, **given: Any) -> None:
        self.scheme = scheme
        self._given = given

    def _stream(self) -> tuple[int, str]:
        return 0, ""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Draw a tensor of the backend; None stands for keras.config.floatx()."""
        kind = keras.backend.standardize_dtype(dtype)
        seed, name = self._stream()
        array = draw(self.scheme, shape, seed=seed, name=name, dtype=dtype_name(kind), layout="io")
        return keras.ops.convert_to_tensor(array, dtype=kind)

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
            first, second = (int(word) & 0xFFFFFFFF for word in keras.ops.convert_to_numpy(seed.next()))
            seed = first | second << 32
        stream_key(seed, self.name)
        return seed, self.name

    def get_config(self) -> dict[str, Any]:
        seed = self._init_seed
        if isinstance(seed, keras.random.SeedGenerator):
            seed = keras.saving.serialize_keras_object(seed)
        return {**super().get_config(), "seed": seed, "name": self.name}
