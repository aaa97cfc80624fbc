"""BLAKE2b of one block in uint32 arithmetic of XLA, so that a traced key finds its stream without the host.

Source: RFC 7693. A 64-bit word is a pair (low, high) of uint32: JAX has no uint64 unless jax_enable_x64 is set.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from winit.jax.keys import PERSON, tail_of

__all__ = ["philox_key"]

_Word = tuple[jax.Array, jax.Array]
_State = tuple[_Word, _Word, _Word, _Word]

_IV = (
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
)  # fmt: skip
_SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
_ROUNDS = np.array([*_SIGMA, *_SIGMA[:2]], np.int32)


def _add(x: _Word, y: _Word) -> _Word:
    low = x[0] + y[0]
    return low, x[1] + y[1] + (low < x[0]).astype(jnp.uint32)


def _xor(x: _Word, y: _Word) -> _Word:
    return x[0] ^ y[0], x[1] ^ y[1]


def _rotate(x: _Word, by: int) -> _Word:
    """Rotate to the right."""
    low, high = x if by < 32 else (x[1], x[0])
    by %= 32
    if by == 0:
        return low, high
    right, left = np.uint32(by), np.uint32(32 - by)
    return low >> right | high << left, high >> right | low << left


def _mix(a: _Word, b: _Word, c: _Word, d: _Word, x: _Word, y: _Word) -> _State:
    a = _add(_add(a, b), x)
    d = _rotate(_xor(d, a), 32)
    c = _add(c, d)
    b = _rotate(_xor(b, c), 24)
    a = _add(_add(a, b), y)
    d = _rotate(_xor(d, a), 16)
    c = _add(c, d)
    return a, _rotate(_xor(b, c), 63), c, d


def _turn(x: _Word, by: int) -> _Word:
    return jnp.roll(x[0], -by), jnp.roll(x[1], -by)


def _blake2b(message: jax.Array, size: int, person: bytes) -> _Word:
    """Return the 8 bytes of BLAKE2b(digest_size=8, person) of a message of `size` bytes, 32 words of it and zeros."""
    block = bytes([8, 0, 1, 1]) + bytes(44) + person.ljust(16, b"\0")
    state = [iv ^ int.from_bytes(block[8 * i : 8 * i + 8], "little") for i, iv in enumerate(_IV)]
    start = [*state, *_IV[:4], _IV[4] ^ size, _IV[5], _IV[6] ^ (2**64 - 1), _IV[7]]
    # Under jax.shard_map what a loop carries varies over devices from the start or never: this does as the key does.
    zero = message[0] ^ message[0]
    low = zero | np.array([word & 0xFFFFFFFF for word in start], np.uint32)
    high = zero | np.array([word >> 32 for word in start], np.uint32)
    # What each round mixes in, in its order: looked up in the loop, it would take as long as the mixing.
    mixed = message.reshape(16, 2)[_ROUNDS]
    first, second = ((mixed[:, at::2, 0], mixed[:, at::2, 1]) for at in (0, 1))

    def quarter(at: int) -> _Word:
        return low[at : at + 4], high[at : at + 4]

    def step(v: _State, chosen: tuple[_Word, _Word]) -> tuple[_State, None]:
        x, y = chosen
        a, b, c, d = _mix(*v, (x[0][:4], x[1][:4]), (y[0][:4], y[1][:4]))
        b, c, d = _turn(b, 1), _turn(c, 2), _turn(d, 3)
        a, b, c, d = _mix(a, b, c, d, (x[0][4:], x[1][4:]), (y[0][4:], y[1][4:]))
        return (a, _turn(b, 3), _turn(c, 2), _turn(d, 1)), None

    (a, _, c, _), _ = jax.lax.scan(step, (quarter(0), quarter(4), quarter(8), quarter(12)), (first, second))
    begun = np.uint32(state[0] & 0xFFFFFFFF), np.uint32(state[0] >> 32)
    return begun[0] ^ a[0][0] ^ c[0][0], begun[1] ^ a[1][0] ^ c[1][0]


def _message(words: jax.Array, tail: bytes) -> tuple[jax.Array, int]:
    """A block that begins with words and ends, as far as it goes, in bytes known before."""
    data = words.reshape(-1).astype(jnp.uint32)
    size = 4 * data.size + len(tail)
    if size > 128:
        raise ValueError(
            f"a key of {data.size} words and its implementation's name are more than one block of 128 bytes"
        )
    rest = np.frombuffer(bytes(4 * data.size) + tail.ljust(128 - 4 * data.size, b"\0"), "<u4").astype(np.uint32)
    # Not jnp.concatenate, which JAX 0.10 cannot vmap over keys that are sharded on a mesh of explicit axes.
    return jax.lax.pad(data, np.uint32(0), [(0, rest.size - data.size, 0)]) | rest, size


def philox_key(impl: str, words: jax.Array) -> _Word:
    """Return the key of the stream that winit.jax.key_stream and a draw would find, from a key's data."""
    seed = _blake2b(*_message(words, tail_of(impl, words.shape)), PERSON)
    return _blake2b(*_message(jnp.stack(seed), b""), b"winit-stream-1")
