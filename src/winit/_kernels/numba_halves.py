"""Half types and float8 in Numba, as words of 16 and 8 bits: the last part of winit/approx.h, its order and its names.

The _finite forms are for values of laws, which stay inside the type's range; the others for sums with anything.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from winit._kernels.numba_compiler import F32, I32, U8, U16, U32, bits_f32, float_f32, point

__all__ = ["round_bf16", "round_f16", "round_finite_bf16", "round_finite_f16", "widen_bf16", "widen_f16"]
__all__ += ["round_f8e4m3", "round_f8e5m2", "round_finite_f8e4m3", "round_finite_f8e5m2"]
__all__ += ["widen_f8e4m3", "widen_f8e5m2"]

HALF_F32, TWO_24 = F32(0.5), F32(2.0**-24)
TWO_9, TWO_16 = F32(2.0**-9), F32(2.0**-16)


@point
def round_finite_bf16(x):
    """Round a finite float32 to a word of bfloat16, to nearest even."""
    u = bits_f32(x)
    return U16(U32(U32(u + U32(0x7FFF)) + (u >> U32(16) & U32(1))) >> U32(16))


@point
def round_bf16(x):
    """Round any float32 to a word of bfloat16."""
    u = bits_f32(x)
    quiet = U16(u >> U32(16) | U32(0x40))
    return quiet if U32(u & U32(0x7FFFFFFF)) > U32(0x7F800000) else round_finite_bf16(x)


@point
def widen_bf16(h):
    """The float32 of a word of bfloat16."""
    return float_f32(U32(U32(h) << U32(16)))


@point
def round_finite_f16(x):
    """Round a float32 of float16's range to a word of it, to nearest even; by a sum where it is subnormal there."""
    u = bits_f32(x)
    sign, mag = u >> U32(16) & U32(0x8000), U32(u & U32(0x7FFFFFFF))
    normal = U32((U32(U32(mag + U32(0x0FFF)) + (mag >> U32(13) & U32(1))) >> U32(13)) - U32(112 << 10))
    subnormal = U32(bits_f32(float_f32(mag) + HALF_F32) - U32(0x3F000000))
    return U16(sign | (subnormal if mag < U32(0x38800000) else normal))


@point
def round_f16(x):
    """Round any float32 to a word of float16."""
    u = bits_f32(x)
    sign, mag = u >> U32(16) & U32(0x8000), U32(u & U32(0x7FFFFFFF))
    h = round_finite_f16(x)
    h = U16(sign | U32(0x7C00)) if mag >= U32(0x477FF000) else h
    return U16(sign | U32(0x7E00) | (mag >> U32(13) & U32(0x3FF))) if mag > U32(0x7F800000) else h


@point
def widen_f16(h):
    """The float32 of a word of float16."""
    mag, sign = U32(h) & U32(0x7FFF), U32(U32(U32(h) & U32(0x8000)) << U32(16))
    subnormal = bits_f32(F32(I32(mag)) * TWO_24)
    normal = U32(U32(mag << U32(13)) + U32(112 << 23))
    u = subnormal if mag < U32(0x0400) else normal
    u = U32(U32(mag << U32(13)) | U32(0x7F800000)) if mag >= U32(0x7C00) else u
    return float_f32(U32(sign | u))


@point
def round_finite_f8e4m3(x):
    """Round a float32 of float8_e4m3fn's range to a word of it, to nearest even: by a sum with a power of two."""
    u = bits_f32(x)
    mag = U32(u & U32(0x7FFFFFFF))
    top = U32((mag if mag > U32(0x3C800000) else U32(0x3C800000)) & U32(0x7F800000))
    total = U32(bits_f32(float_f32(mag) + float_f32(U32(top + U32(20 << 23)))))
    code = U32(U32(total + (top >> U32(20))) - U32(121 << 3))
    return U8(U32(U32(u & U32(0x80000000)) | U32(code << U32(24))) >> U32(24))


@point
def round_f8e4m3(x):
    """Round any float32 to a word of float8_e4m3fn; what is beyond its range is NaN."""
    u = bits_f32(x)
    sign, mag = u >> U32(24) & U32(0x80), U32(u & U32(0x7FFFFFFF))
    return U8(sign | U32(0x7F)) if mag > U32(0x43E80000) else round_finite_f8e4m3(x)


@point
def widen_f8e4m3(h):
    """The float32 of a word of float8_e4m3fn."""
    mag, sign = U32(h) & U32(0x7F), U32(U32(U32(h) & U32(0x80)) << U32(24))
    subnormal = bits_f32(F32(I32(mag)) * TWO_9)
    normal = U32(U32(mag << U32(20)) + U32(120 << 23))
    u = subnormal if mag < U32(0x08) else normal
    u = U32(0x7FC00000) if mag == U32(0x7F) else u
    return float_f32(U32(sign | u))


@point
def round_finite_f8e5m2(x):
    """Round a float32 of float8_e5m2's range to a word of it, to nearest even: by a sum with a power of two."""
    u = bits_f32(x)
    mag = U32(u & U32(0x7FFFFFFF))
    top = U32((mag if mag > U32(0x38800000) else U32(0x38800000)) & U32(0x7F800000))
    total = U32(bits_f32(float_f32(mag) + float_f32(U32(top + U32(21 << 23)))))
    code = U32(U32(total + (top >> U32(21))) - U32(113 << 2))
    return U8(U32(U32(u & U32(0x80000000)) | U32(code << U32(24))) >> U32(24))


@point
def round_f8e5m2(x):
    """Round any float32 to a word of float8_e5m2."""
    u = bits_f32(x)
    sign, mag = u >> U32(24) & U32(0x80), U32(u & U32(0x7FFFFFFF))
    h = round_finite_f8e5m2(x)
    h = U8(sign | U32(0x7C)) if mag >= U32(0x47700000) else h
    return U8(sign | U32(0x7E)) if mag > U32(0x7F800000) else h


@point
def widen_f8e5m2(h):
    """The float32 of a word of float8_e5m2."""
    mag, sign = U32(h) & U32(0x7F), U32(U32(U32(h) & U32(0x80)) << U32(24))
    subnormal = bits_f32(F32(I32(mag)) * TWO_16)
    normal = U32(U32(mag << U32(21)) + U32(112 << 23))
    u = subnormal if mag < U32(0x04) else normal
    u = U32(0x7F800000) if mag == U32(0x7C) else u
    u = U32(0x7FC00000) if mag > U32(0x7C) else u
    return float_f32(U32(sign | u))
