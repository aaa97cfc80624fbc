"""The stream in NumPy: words by their numbers, each from its own block (winit/philox.h).

a) block     Philox4x32-10 over arrays of counters, one 32-bit word to a uint64
b) word      lane i & 3 of block i >> 2
c) words     a range of the stream, as engines write it

A word costs a whole block here; nothing is shared between the words of one.
"""

from __future__ import annotations

import numpy as np

__all__ = ["TAG_POSITIONS", "TAG_VALUES", "block_at", "philox4x32", "word_at", "words"]

U32, U64 = np.uint32, np.uint64
LOW, HALF = U64(0xFFFFFFFF), U64(32)
TAG_VALUES, TAG_POSITIONS = 0, 1
CHUNK = 1 << 16  # words at a time

Words = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """The four words of counters under a key, counters and words as uint64."""
    c0, c1, c2, c3 = counter
    for r in range(10):
        k0, k1 = (key[0] + r * 0x9E3779B9) & 0xFFFFFFFF, (key[1] + r * 0xBB67AE85) & 0xFFFFFFFF
        p0, p1 = c0 * U64(0xD2511F53), c2 * U64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ U64(k0), p1 & LOW, (p0 >> HALF) ^ c3 ^ U64(k1), p0 & LOW
    return c0, c1, c2, c3


def block_at(key: tuple[int, int], tag: int, block: np.ndarray) -> Words:
    """Blocks of any numbers (uint64) of the stream (key, tag)."""
    return philox4x32((block & LOW, block >> HALF, np.full_like(block, tag), np.zeros_like(block)), key)


def word_at(key: tuple[int, int], tag: int, index: np.ndarray) -> np.ndarray:
    """Words of any numbers (uint64) of the stream (key, tag), as uint32."""
    lane = index & U64(3)
    return np.choose(lane.astype(np.intp), block_at(key, tag, index >> U64(2))).astype(U32)


def words(isa: str, key: tuple[int, int], tag: int, lo: int, dest: np.ndarray) -> None:
    """Write words lo, lo + 1, ... of the stream (key, tag) to dest."""
    for done in range(0, dest.size, CHUNK):
        part = dest[done : done + CHUNK]
        part[...] = word_at(key, tag, U64(lo + done) + np.arange(part.size, dtype=U64))
