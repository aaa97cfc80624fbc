"""A stream as NumPy's bit generator: numpy.random.Generator and SciPy draw any of their distributions from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence, ISpawnableSeedSequence

from winit._core.checks import check_integer, shown, shown_integer
from winit._core.keys import stream_key

try:
    from winit._kernels.bitgen import Words
    from winit._kernels.sample import instruction_sets
except ModuleNotFoundError as error:
    if error.name != "winit._kernels.bitgen":
        raise
    raise ImportError(
        "winit.BitGenerator is compiled code, and this winit was installed with WINIT_NO_EXTENSIONS=1"
    ) from None

__all__ = ["BitGenerator"]


class BitGenerator(np.random.BitGenerator):
    """The stream of (seed, name) for NumPy's Generator.

    Its raw draws are the words of winit.words, two to 64 bits, the lower half first; a draw of 32 bits takes one. So
    Generator.random() gives, in order, the elements of winit.uniform() in float64, and random(dtype="float32") those in
    float32. Other distributions of NumPy take as many words as they like: their values depend on what was drawn before,
    and on NumPy's version, as with any bit generator.

    Parameters
    ----------
    seed : int, 0 <= seed < 2^64; or a numpy.random.SeedSequence, as NumPy and SciPy make for the children of a
        generator, which stands for the seed sequence.generate_state(1, numpy.uint64)[0].
    name : str. Streams of different names are independent, and so are their children.

    Attributes
    ----------
    state : dict with "bit_generator", and "state": seed, name and position, the number of the next word. May be set.
        How many children were spawned is no part of it; pickles and copies keep that.
    seed_seq : what children come from: the numpy.random.SeedSequence given, or, of a stream that has a name or was made
        of a seed, one of the two words of the stream's key. Where `state` is set to another stream's, that stream's.
    lock, capsule, ctypes, cffi, random_raw : as of every NumPy bit generator. A capsule serves compiled code.

    Raises
    ------
    TypeError, ValueError : as winit.draw.
    ImportError : winit was installed without its extensions.

    Source: docs/streams.md; NumPy's numpy/random/bitgen.h.

    >>> import numpy as np, winit
    >>> rng = np.random.Generator(winit.BitGenerator(0, "w"))
    >>> bool((rng.random(5) == winit.draw(winit.uniform(), 5, seed=0, name="w", dtype="float64")).all())
    True
    >>> round(float(rng.gamma(2.0, size=10_000).mean()), 1)
    2.0
    >>> sequence = np.random.SeedSequence(5)
    >>> winit.BitGenerator(sequence)
    winit.BitGenerator(12631478326263854183, '')

    """

    def __init__(self, seed: int | ISeedSequence, name: str = "") -> None:
        if isinstance(seed, ISeedSequence):
            # A sequence knows no names: its children would be those of every stream that is named beside it.
            self._begin(seed if name == "" else None, int(seed.generate_state(1, np.uint64)[0]), name)
        else:
            self._begin(None, seed, name)

    def _begin(self, sequence: ISeedSequence | None, seed: int, name: str) -> None:
        """Start the stream of a seed and name, whose children spawn from a sequence, or from the stream's own."""
        key = stream_key(seed, name)
        made: Any = np.random.SeedSequence(key) if sequence is None else sequence
        super().__init__(made)
        self._key, self._seed, self._name, self._sequence = key, int(seed), name, made
        if not hasattr(self, "_words"):  # else it is called again: generators have the address of what is there
            self._words = Words(instruction_sets()[-1], key)
        self._words.move(key, 0)
        self._words.serve(self.capsule)

    @property
    def seed_seq(self) -> ISeedSequence:
        """What children come from."""
        return self._sequence

    @property
    def _seed_seq(self) -> ISeedSequence:
        """The same by the name that it had before NumPy 1.25, which libraries go on asking for."""
        return self._sequence

    @property
    def state(self) -> dict[str, Any]:
        """The place in the stream: what it takes to go on from here."""
        place = {"seed": self._seed, "name": self._name, "position": self._words.position}
        return {"bit_generator": type(self).__name__, "state": place}

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a dict, not {type(state).__name__}")
        # RandomState adds has_gauss and gauss, which are its own.
        place = state.get("state")
        named = isinstance(place, Mapping) and set(place) == {"seed", "name", "position"}
        if state.get("bit_generator") != type(self).__name__ or not named:
            raise ValueError(f"state must be that of a {type(self).__name__}, not {shown(dict(state))}")
        assert isinstance(place, Mapping)
        position = check_integer(place["position"], "position", None, None)
        if not 0 <= position < 1 << 64:
            raise ValueError(f"position must be in [0, 2^64), not {shown_integer(position)}")
        key = stream_key(place["seed"], place["name"])
        with self.lock:
            if key != self._key:
                self._sequence = np.random.SeedSequence(key)
            self._key, self._seed, self._name = key, int(place["seed"]), place["name"]
            self._words.move(key, position)

    def advance(self, delta: int) -> BitGenerator:
        """Move on by `delta` raw draws of 64 bits, back where it is negative, modulo the 2^63 of a stream.

        Parameters
        ----------
        delta : int. A draw of 64 bits is two words.

        Returns
        -------
        self.

        >>> import winit
        >>> bits = winit.BitGenerator(0, "w")
        >>> int(bits.advance(10**15).random_raw()) == int(winit.BitGenerator(0, "w").advance(10**15).random_raw())
        True

        """
        delta = check_integer(delta, "delta", None, None)
        with self.lock:
            self._words.move(self._key, (self._words.position + 2 * delta) % (1 << 64))
        return self

    def spawn(self, n_children: int) -> list[BitGenerator]:
        """Make the bit generators of new, independent streams, as NumPy's Generator.spawn and SciPy ask for them.

        They are those of self.seed_seq.spawn(n_children), and each call gives others, whichever thread it is in. Where
        the caller can say what a stream is for, another name says more than a child: winit.BitGenerator(seed, name).

        Parameters
        ----------
        n_children : int, 0 <= n_children.

        Returns
        -------
        list of BitGenerator.

        Raises
        ------
        TypeError, ValueError : the wrong kind, the wrong value; a sequence that does not spawn.

        >>> import numpy as np, winit
        >>> first, second = np.random.Generator(winit.BitGenerator(0, "w")).spawn(2)
        >>> key = winit.BitGenerator(0, "w").seed_seq.entropy
        >>> again = winit.BitGenerator(np.random.SeedSequence(key, spawn_key=(1,)))
        >>> bool(second.random() == np.random.Generator(again).random() != first.random())
        True

        """
        count = check_integer(n_children, "n_children", 0)
        with self.lock:  # NumPy's sequence counts its children when it has made them: two threads would get the same
            if not isinstance(self._sequence, ISpawnableSeedSequence):
                raise TypeError(f"the seed sequence does not implement spawning: {shown(self._sequence)}")
            sequences = self._sequence.spawn(count)
        return [type(self)(sequence) for sequence in sequences]

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.seed_seq, self._seed, self._name), self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __repr__(self) -> str:
        return f"winit.BitGenerator({self._seed}, {self._name!r})"


def _again(cls: type[BitGenerator], sequence: ISeedSequence, seed: int, name: str) -> BitGenerator:
    """Make a bit generator again from what it was made of, children that it has spawned included."""
    made = cls.__new__(cls)
    made._begin(sequence, seed, name)
    return made


def __dir__() -> list[str]:
    return __all__
