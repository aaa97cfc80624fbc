"""Half types and float8 in Triton, as words of 16 and 8 bits: the last part of winit/approx.h, its order and its names.

The _finite forms are for values of laws, which stay inside the type's range; the others for sums with anything. They
are made of integers, and words travel as uint32: devices' own conversions differ in what they keep of a NaN, and the
interpreter's cut where they should round. Finite values of half types are NVIDIA's to convert: one instruction for two
of them, where integers take 12 of bfloat16 and 38 of float16.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: N803
from __future__ import annotations

import triton
import triton.language as tl

from winit._kernels.triton_points import bits_f32, float_f32, signed_f32

__all__ = ["rounded", "widened"]

TWO_9, TWO_16, TWO_24 = (tl.constexpr(2.0**power) for power in (-9, -16, -24))

# ---- bfloat16


@triton.jit
def round_finite_bf16(x):
    """Round a finite float32 to a word of bfloat16, to nearest even."""
    u = bits_f32(x)
    return (u + 0x7FFF + ((u >> 16) & 1)) >> 16


@triton.jit
def round_bf16(x):
    """Round any float32 to a word of bfloat16."""
    u = bits_f32(x)
    return tl.where((u & 0x7FFFFFFF) > 0x7F800000, (u >> 16) | 0x40, round_finite_bf16(x))


@triton.jit
def widen_bf16(h):
    """The float32 of a word of bfloat16."""
    return float_f32(h << 16)


# ---- float16


@triton.jit
def round_finite_f16(x):
    """Round a float32 of float16's range to a word of it, to nearest even; by a sum where it is subnormal there."""
    u = bits_f32(x)
    mag = u & 0x7FFFFFFF
    normal = ((mag + 0x0FFF + ((mag >> 13) & 1)) >> 13) - (112 << 10)
    subnormal = bits_f32(float_f32(mag) + 0.5) - 0x3F000000
    return ((u >> 16) & 0x8000) | tl.where(mag < 0x38800000, subnormal, normal)


@triton.jit
def round_f16(x):
    """Round any float32 to a word of float16."""
    u = bits_f32(x)
    sign, mag = (u >> 16) & 0x8000, u & 0x7FFFFFFF
    h = tl.where(mag >= 0x477FF000, sign | 0x7C00, round_finite_f16(x))
    return tl.where(mag > 0x7F800000, sign | 0x7E00 | ((mag >> 13) & 0x3FF), h)


@triton.jit
def widen_f16(h):
    """The float32 of a word of float16."""
    mag = h & 0x7FFF
    u = tl.where(mag < 0x0400, bits_f32(signed_f32(mag) * TWO_24), (mag << 13) + (112 << 23))
    u = tl.where(mag >= 0x7C00, (mag << 13) | 0x7F800000, u)
    return float_f32(((h & 0x8000) << 16) | u)


# ---- float8_e4m3fn


@triton.jit
def round_finite_f8e4m3(x):
    """Round a float32 of float8_e4m3fn's range to a word of it, to nearest even: by a sum with a power of two."""
    u = bits_f32(x)
    mag = u & 0x7FFFFFFF
    top = tl.where(mag > 0x3C800000, mag, 0x3C800000) & 0x7F800000
    code = bits_f32(float_f32(mag) + float_f32(top + (20 << 23))) + (top >> 20) - (121 << 3)
    return ((u >> 24) & 0x80) | (code & 0xFF)


@triton.jit
def round_f8e4m3(x):
    """Round any float32 to a word of float8_e4m3fn; what is beyond its range is NaN."""
    u = bits_f32(x)
    return tl.where((u & 0x7FFFFFFF) > 0x43E80000, ((u >> 24) & 0x80) | 0x7F, round_finite_f8e4m3(x))


@triton.jit
def widen_f8e4m3(h):
    """The float32 of a word of float8_e4m3fn."""
    mag = h & 0x7F
    u = tl.where(mag < 0x08, bits_f32(signed_f32(mag) * TWO_9), (mag << 20) + (120 << 23))
    u = tl.where(mag == 0x7F, 0x7FC00000, u)
    return float_f32(((h & 0x80) << 24) | u)


# ---- float8_e5m2


@triton.jit
def round_finite_f8e5m2(x):
    """Round a float32 of float8_e5m2's range to a word of it, to nearest even: by a sum with a power of two."""
    u = bits_f32(x)
    mag = u & 0x7FFFFFFF
    top = tl.where(mag > 0x38800000, mag, 0x38800000) & 0x7F800000
    code = bits_f32(float_f32(mag) + float_f32(top + (21 << 23))) + (top >> 21) - (113 << 2)
    return ((u >> 24) & 0x80) | (code & 0xFF)


@triton.jit
def round_f8e5m2(x):
    """Round any float32 to a word of float8_e5m2."""
    u = bits_f32(x)
    sign, mag = (u >> 24) & 0x80, u & 0x7FFFFFFF
    h = tl.where(mag >= 0x47700000, sign | 0x7C, round_finite_f8e5m2(x))
    return tl.where(mag > 0x7F800000, sign | 0x7E, h)


@triton.jit
def widen_f8e5m2(h):
    """The float32 of a word of float8_e5m2."""
    mag = h & 0x7F
    u = tl.where(mag < 0x04, bits_f32(signed_f32(mag) * TWO_16), (mag << 21) + (112 << 23))
    u = tl.where(mag >= 0x7C, tl.where(mag == 0x7C, 0x7F800000, 0x7FC00000), u)
    return float_f32(((h & 0x80) << 24) | u)


# ---- by the number of the dtype in winit._kernels.DTYPES


@triton.jit
def rounded(x, DTYPE: tl.constexpr, FINITE: tl.constexpr, CONVERT: tl.constexpr):
    """Round a float32 to a word of a narrow type; with CONVERT, a finite one to a half type as the device converts."""
    if DTYPE == 2:
        if FINITE and CONVERT:
            word = x.to(tl.float16).to(tl.int16, bitcast=True)
        else:
            word = round_finite_f16(x) if FINITE else round_f16(x)
    elif DTYPE == 3:
        if FINITE and CONVERT:
            word = x.to(tl.bfloat16).to(tl.int16, bitcast=True)
        else:
            word = round_finite_bf16(x) if FINITE else round_bf16(x)
    elif DTYPE == 4:
        word = round_finite_f8e4m3(x) if FINITE else round_f8e4m3(x)
    else:
        word = round_finite_f8e5m2(x) if FINITE else round_f8e5m2(x)
    return word


@triton.jit
def widened(h, DTYPE: tl.constexpr):
    """Give the float32 of a word of a narrow type."""
    if DTYPE == 2:
        x = widen_f16(h)
    elif DTYPE == 3:
        x = widen_bf16(h)
    elif DTYPE == 4:
        x = widen_f8e4m3(h)
    else:
        x = widen_f8e5m2(h)
    return x
