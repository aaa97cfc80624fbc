"""A seed and a tensor's name to the two words that key its stream."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

from winit._core.checks import check_integer, shown, shown_integer

__all__ = ["STREAM_VERSION", "stream_key"]

STREAM_VERSION = 1  # of the bits that docs/streams.md defines
_two_words = Struct("<II").unpack


def stream_key(seed: int, name: str = "") -> tuple[int, int]:
    """Derive the Philox key of the stream (seed, name).

    The first 8 bytes of BLAKE2b(digest_size=8, person=b"winit-stream-1") over the seed as 8 little-endian bytes and
    the name in UTF-8, read as two little-endian 32-bit words.

    Parameters
    ----------
    seed : int, 0 <= seed < 2^64.
    name : str, any; not normalised.

    Raises
    ------
    TypeError : seed is not an integer, or name not a str.
    ValueError : seed out of range, or a name that UTF-8 cannot hold (a lone surrogate).

    Source: RFC 7693 (BLAKE2); docs/streams.md.

    >>> [hex(word) for word in stream_key(0)]
    ['0xd5846071', '0xfe620b30']

    """
    if type(seed) is not int:
        seed = check_integer(seed, "seed", None, None)
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be in [0, 2^64), not {shown_integer(seed)}")
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    try:
        data = seed.to_bytes(8, "little") + name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"name {shown(name)} cannot be encoded in UTF-8: {error.reason}") from None
    low, high = _two_words(blake2b(data, digest_size=8, person=b"winit-stream-1").digest())
    return low, high
