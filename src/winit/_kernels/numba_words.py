"""The stream in Numba: whole blocks, many side by side (winit/philox.h; sample.h, a).

a) block     Philox4x32-10, one 32-bit word to a uint64
b) blocks    a run of blocks to a buffer, in element order or as planes of pairs
c) words     a range of the stream, as engines write it

The blocks of a run are under one high counter word, and two words go to a uint64. What the blocks share, half of the
products of the first two rounds among it, LLVM takes out of the loops.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from winit._kernels.numba_compiler import I64, U32, U64, compiled, point

__all__ = [
    "LOW",
    "TAG_POSITIONS",
    "TAG_VALUES",
    "block_at",
    "in_order",
    "pack",
    "philox4x32",
    "planes_32",
    "planes_64",
    "words",
    "words_range",
]

LOW, HALF = U64(0xFFFFFFFF), U64(32)
TAG_VALUES, TAG_POSITIONS = U32(0), U32(1)
CHUNK = 2048  # words in the first-level cache

# ---- a) block


def _philox() -> Callable[..., Any]:
    """Four words of a block, each the low half of a uint64: what the high halves hold is the caller's to drop.

    Rounds are written out: no loop that holds a loop is vectorised. The product of low halves is one instruction.
    """
    lines = ["def philox4x32(k0, k1, c0, c1, c2, c3):", "    a, b = U64(k0), U64(k1)"]
    for i in range(10):
        lines.append("    p0, p1 = (c0 & LOW) * M0, (c2 & LOW) * M1")
        first, second = (f"(({key} + W{j} * U64({i})) & LOW)" for j, key in enumerate("ab"))
        lines.append(f"    c0, c2 = (p1 >> HALF) ^ c1 ^ {first}, (p0 >> HALF) ^ c3 ^ {second}")
        lines.append("    c1, c3 = p1, p0")
    lines.append("    return c0, c1, c2, c3")
    space = {"U64": U64, "M0": U64(0xD2511F53), "M1": U64(0xCD9E8D57), "W0": U64(0x9E3779B9), "W1": U64(0xBB67AE85)}
    space |= {"LOW": LOW, "HALF": HALF}
    exec("\n".join(lines), space)
    return point(space["philox4x32"])  # type: ignore  # what exec defined


philox4x32 = _philox()


@point
def block_at(key, block):
    """The four words of block number `block` of a key's values."""
    w0, w1, w2, w3 = philox4x32(key[0], key[1], block & LOW, block >> HALF, U64(TAG_VALUES), U64(0))
    return U32(w0), U32(w1), U32(w2), U32(w3)


# ---- b) blocks


@point
def pack(first, second, half=HALF):
    """Two words in a uint64."""
    return (first & LOW) | second << half


@point
def half_of(block):
    """32, since no block reaches 2^62. LLVM does not know, and so shifts the product that it has.

    By a constant, it would multiply once more, by a factor of 64 bits: 4% of the loop.
    """
    return HALF + (block >> U64(62))


@compiled
def in_order(k0, k1, tag, block, blocks, w):
    """Words in element order."""
    half = half_of(block)
    for i in range(blocks):
        w0, w1, w2, w3 = philox4x32(k0, k1, (block & LOW) + U64(i), block >> HALF, U64(tag), U64(0))
        w[2 * i] = pack(w0, w1, half)
        w[2 * i + 1] = pack(w2, w3, half)


@compiled
def planes_32(k0, k1, block, blocks, first, second):
    """Of the pairs (a, b) of words all a, and all b."""
    half = half_of(block)
    for i in range(blocks):
        w0, w1, w2, w3 = philox4x32(k0, k1, (block & LOW) + U64(i), block >> HALF, U64(TAG_VALUES), U64(0))
        first[i] = pack(w0, w2, half)
        second[i] = pack(w1, w3, half)


@compiled
def planes_64(k0, k1, block, blocks, first, second):
    """Of the pairs (a, b) of 64 bits all a, and all b."""
    half = half_of(block)
    for i in range(blocks):
        w0, w1, w2, w3 = philox4x32(k0, k1, (block & LOW) + U64(i), block >> HALF, U64(TAG_VALUES), U64(0))
        first[i] = pack(w0, w1, half)
        second[i] = pack(w2, w3, half)


# ---- c) words


@compiled
def words_range(k0, k1, tag, lo, dest):
    """Words lo, lo + 1, ... to an array of uint32."""
    buffer = np.empty(CHUNK // 2, U64)
    from_ = buffer.view(U32)
    done = 0
    while done < dest.size:
        skip, block = I64(lo & U64(3)), lo >> U64(2)
        blocks = min((dest.size - done + skip + 3) // 4, CHUNK // 4, I64(U64(1 << 32) - (block & LOW)))
        in_order(k0, k1, tag, block, blocks, buffer)
        count = min(dest.size - done, 4 * blocks - skip)
        source, target = from_[skip : skip + count], dest[done : done + count]
        for j in range(count):
            target[j] = source[j]
        done += count
        lo += U64(count)


def words(isa: str, key: tuple[int, int], tag: int, lo: int, dest: np.ndarray) -> None:
    """Write words lo, lo + 1, ... of the stream (key, tag) to dest."""
    words_range(U32(key[0]), U32(key[1]), U32(tag), U64(lo), dest)
