"""The stream in Triton: whole blocks side by side, and any words of them (winit/philox.h; sample.h, a).

a) block     Philox4x32-10: four words of each block
b) words     a range of the stream, as engines write it
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# Annotations are evaluated here: Triton takes an argument's type from one that is a string.
# ruff: noqa: N803

from typing import TYPE_CHECKING, Any, TypeAlias

import triton
import triton.language as tl

if TYPE_CHECKING:  # how arguments are passed, whatever Python's value is; Triton reads the names
    u32: TypeAlias = Any
    i64: TypeAlias = Any
    fp64: TypeAlias = Any

__all__ = ["TAG_VALUES", "counter", "philox4x32", "words_range"]

TAG_VALUES: tl.constexpr = tl.constexpr(0)
M0, M1 = tl.constexpr(0xD2511F53), tl.constexpr(0xCD9E8D57)
W0, W1 = tl.constexpr(0x9E3779B9), tl.constexpr(0xBB67AE85)

# ---- a) block


@triton.jit
def philox4x32(k0, k1, c0, c1, c2, c3):
    """Four words of a block, of uint32 counters and keys.

    A product of two words that were widened to 64 bits is one instruction, mul.wide.u32, and gives both halves.
    """
    m0, m1 = tl.full((), M0, tl.uint64), tl.full((), M1, tl.uint64)
    for _ in tl.static_range(10):
        p0, p1 = c0.to(tl.uint64) * m0, c2.to(tl.uint64) * m1
        c0 = (p1 >> 32).to(tl.uint32) ^ c1 ^ k0
        c2 = (p0 >> 32).to(tl.uint32) ^ c3 ^ k1
        c1, c3 = p1.to(tl.uint32), p0.to(tl.uint32)
        k0 += tl.full((), W0, tl.uint32)
        k1 += tl.full((), W1, tl.uint32)
    return c0, c1, c2, c3


@triton.jit
def counter(block):
    """The two low counter words of block numbers, int64."""
    return block.to(tl.uint32), (block >> 32).to(tl.uint32)


# ---- b) words


@triton.jit(do_not_specialize=["k0", "k1", "tag", "upper", "lower", "skip"])
def words_range(dest, k0: "u32", k1: "u32", tag: "u32", upper, lower, skip, n, BLOCK: tl.constexpr):
    """Words `skip` on of the blocks from upper 2^31 + lower on, to n words of memory."""
    first = tl.program_id(0).to(tl.int64) * BLOCK
    block = upper.to(tl.int64) * 2147483648 + lower.to(tl.int64) + first + tl.arange(0, BLOCK)
    c0, c1 = counter(block)
    tag, zero = (c0 & 0) + tag.to(tl.uint32), c0 & 0
    w0, w1, w2, w3 = philox4x32(k0.to(tl.uint32), k1.to(tl.uint32), c0, c1, tag, zero)
    words = tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), (4 * BLOCK,))
    at = 4 * first + tl.arange(0, 4 * BLOCK) - skip
    tl.store(dest + at, words.to(tl.int32, bitcast=True), mask=(at >= 0) & (at < n))
