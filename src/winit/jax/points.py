"""From words to values in XLA: the float32 functions of winit/approx.h, each operation rounded on its own.

XLA's compiler for CPUs may make one fused multiply-add of a product and a sum, and its simplifier may reorder products
with constants; both change bits. So a product that is added to something goes through `Guard`, which flips no bits of
it: an exclusive or with a zero that no compiler can know, since it is worked out of the key when the program runs.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import bitcast_convert_type

from winit._kernels import coefficients as C  # noqa: N812

__all__ = ["Guard", "normal_pair", "philox", "rounded", "truncated", "uniform"]

F32, I32, U32 = jnp.float32, jnp.int32, jnp.uint32


class Guard:
    """Keep a number apart from the operation that follows it."""

    def __init__(self, word: Any) -> None:
        # x^3 - x is divisible by 3; compilers know bits of products, and no remainders of cubes.
        small = word & np.uint32(1023)
        self.zero = (small * small * small - small) % np.uint32(3)

    def __call__(self, x: Any) -> jax.Array:
        bits = bitcast_convert_type(jnp.asarray(x, F32), U32)
        return bitcast_convert_type(bits ^ self.zero, F32)


# ---- words


def _product(a: jax.Array, b: int) -> tuple[jax.Array, jax.Array]:
    """High and low word of the product with a constant, by halves of 16 bits: JAX has no uint64 by default."""
    low_b, high_b = np.uint32(b & 0xFFFF), np.uint32(b >> 16)
    sixteen, mask = np.uint32(16), np.uint32(0xFFFF)
    low_a, high_a = a & mask, a >> sixteen
    low = low_a * low_b
    middle = high_a * low_b + (low >> sixteen)
    other = low_a * high_b + (middle & mask)
    return high_a * high_b + (middle >> sixteen) + (other >> sixteen), a * np.uint32(b)


def philox(block: jax.Array, key: tuple[Any, Any]) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Philox4x32-10 of the counters (block, 0, 0, 0): words 4 block to 4 block + 3 of a stream's values."""
    zero = jnp.zeros_like(block)
    c0, c1, c2, c3 = block, zero, zero, zero
    k0, k1 = key
    for i in range(10):
        if i:
            k0, k1 = k0 + np.uint32(0x9E3779B9), k1 + np.uint32(0xBB67AE85)
        high0, low0 = _product(c0, 0xD2511F53)
        high1, low1 = _product(c2, 0xCD9E8D57)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


# ---- points


def _horner(coefficients: tuple[float, ...], x: jax.Array, guard: Guard) -> jax.Array:
    total: Any = np.float32(coefficients[-1])
    for c in coefficients[-2::-1]:
        total = guard(total * x) + np.float32(c)
    return total


def _even_odd(coefficients: tuple[float, ...], x: jax.Array, guard: Guard) -> jax.Array:
    square = guard(x * x)
    return _horner(coefficients[0::2], square, guard) + guard(_horner(coefficients[1::2], square, guard) * x)


def _neg2log(f: jax.Array, e: jax.Array, guard: Guard) -> jax.Array:
    return guard(f * _even_odd(C.LOG_F32, f, guard)) + guard(e * np.float32(C.TWO_LN2_F32[0]))


def _frexp(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mantissa in [1/2, 1) and exponent of normal positive numbers."""
    bits = bitcast_convert_type(x, I32)
    mantissa = bitcast_convert_type(bits & np.int32(0x7FFFFF) | np.int32(0x3F000000), F32)
    return mantissa, (bits >> np.int32(23)) - np.int32(126)


def _sum(mean: float, std: float, z: jax.Array, guard: Guard) -> jax.Array:
    # The mean, too, is nothing that a compiler knows: 0 + x would be x, and keep the sign of a zero.
    return guard(np.float32(mean)) + guard(np.float32(std) * z)


def uniform(word: jax.Array, numbers: tuple[float, ...], guard: Guard) -> jax.Array:
    """Low + span u, and no more than cap."""
    low, span, cap = (np.float32(number) for number in numbers)
    u = (word >> np.uint32(8)).astype(I32).astype(F32) * np.float32(2.0**-24)
    return jnp.minimum(guard(low) + guard(guard(u) * span), cap)


def normal_pair(a: jax.Array, b: jax.Array, numbers: tuple[float, ...], guard: Guard) -> tuple[jax.Array, jax.Array]:
    """Box-Muller of two words, times std, plus mean."""
    upper = a >> np.uint32(31) == 1
    folded = jnp.where(upper, ~a, a).astype(I32)
    y = folded.astype(F32) + np.float32(0.5)
    mantissa, exponent = _frexp(y)
    f = jnp.where(upper, y * np.float32(-(2.0**-32)), mantissa - np.float32(1))
    e = jnp.where(upper, 0, np.int32(32) - exponent).astype(F32)
    r = jnp.sqrt(_neg2log(f, e, guard))
    quarter = np.uint32(1 << 30)
    turned = b + quarter
    negative = turned >> np.uint32(31) == 1
    residue = bitcast_convert_type((turned & np.uint32(0x7FFFFFFF)) - quarter, I32)
    angle = residue.astype(F32) * np.float32(2.0**-30)
    square = guard(angle * angle)
    sine, cosine = angle * _horner(C.SIN_F32, square, guard), _horner(C.COS_F32, square, guard)
    r = jnp.where(negative, -r, r)
    mean, std = numbers
    return _sum(mean, std, r * cosine, guard), _sum(mean, std, r * sine, guard)


def truncated(word: jax.Array, numbers: tuple[float, ...], guard: Guard) -> jax.Array:
    """Mean + std z, z standard normal held to [low, high], by its quantile."""
    mean, std, low, high, below, above, step, threshold, _ = numbers
    n = (word >> np.uint32(8)).astype(I32)
    left = n < np.int32(threshold)
    m = jnp.where(left, n, np.int32(0xFFFFFF) - n).astype(F32) + np.float32(0.5)
    t = jnp.where(left, np.float32(below), np.float32(above)) + guard(m * np.float32(step))
    mantissa, exponent = _frexp(t)
    s = jnp.sqrt(_neg2log(mantissa - np.float32(1), (-exponent).astype(F32), guard))
    z = _even_odd(C.QUANTILE0_F32, s - np.float32(C.QUANTILE_SHIFT_F32[0]), guard)
    beyond = _even_odd(C.QUANTILE1_F32, s - np.float32(C.QUANTILE_SHIFT_F32[1]), guard)
    z = jnp.where(s > np.float32(C.QUANTILE_SPLIT_F32[0]), beyond, z)
    z = jnp.where(left, -z, z)
    return _sum(mean, std, jnp.minimum(jnp.maximum(z, np.float32(low)), np.float32(high)), guard)


def rounded(x: jax.Array, kind: str) -> jax.Array:
    """float32 to bfloat16 by integers, and to float16, to nearest even; float32 as it is."""
    if kind == "bfloat16":
        bits = bitcast_convert_type(x, U32)
        nearest = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
        return bitcast_convert_type(nearest.astype(jnp.uint16), jnp.bfloat16)
    return x.astype(kind)
