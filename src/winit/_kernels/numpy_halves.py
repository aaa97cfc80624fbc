"""Half types and float8 in NumPy, as words of 16 and 8 bits: the last part of winit/approx.h, its order and its names.

One function rounds finite numbers and the others: what C and Numba gain by one for each is speed.
"""

from __future__ import annotations

import numpy as np

__all__ = ["ROUND", "round_bf16", "round_f8e4m3", "round_f8e5m2", "round_f16"]
__all__ += ["widen_bf16", "widen_f8e4m3", "widen_f8e5m2", "widen_f16"]

F32, U8, U16, U32 = np.float32, np.uint8, np.uint16, np.uint32


def round_bf16(x: np.ndarray) -> np.ndarray:
    """Round float32 to words of bfloat16, to nearest even."""
    u = x.view(U32)
    nearest = (u + U32(0x7FFF) + (u >> U32(16) & U32(1))) >> U32(16)
    return np.where(np.isnan(x), u >> U32(16) | U32(0x40), nearest).astype(U16)


def widen_bf16(h: np.ndarray) -> np.ndarray:
    """The float32 of words of bfloat16."""
    return (h.astype(U32) << U32(16)).view(F32)


def round_f16(x: np.ndarray) -> np.ndarray:
    """Round float32 to words of float16, to nearest even."""
    with np.errstate(over="ignore"):
        return x.astype(np.float16).view(U16)


def widen_f16(h: np.ndarray) -> np.ndarray:
    """The float32 of words of float16."""
    return h.view(np.float16).astype(F32)


def _nearest(mag: np.ndarray, fraction: int, bias: int) -> np.ndarray:
    """Round magnitudes of numbers to a type with so many bits of fraction and this bias; carries run into exponents."""
    drop = U32(23 - fraction)
    normal = (mag + (U32(1) << (drop - U32(1))) - U32(1) + (mag >> drop & U32(1))) >> drop
    unit = F32(2.0 ** (24 - bias - fraction))  # one unit in its last place is the spacing of the type's subnormals
    subnormal = (mag.view(F32) + unit).view(U32) - unit.view(U32)
    return np.where(mag < U32((128 - bias) << 23), subnormal, normal - U32((127 - bias) << fraction))


def _wider(h: np.ndarray, fraction: int, bias: int) -> np.ndarray:
    """The bits of the float32 of finite magnitudes."""
    mag = h.astype(U32) & U32(0x7F)
    subnormal = (mag.astype(F32) * F32(2.0 ** (1 - bias - fraction))).view(U32)
    return np.where(mag < U32(1 << fraction), subnormal, (mag << U32(23 - fraction)) + U32((127 - bias) << 23))


def round_f8e4m3(x: np.ndarray) -> np.ndarray:
    """Round float32 to words of float8_e4m3fn, to nearest even; beyond its range to NaN."""
    u = x.view(U32)
    mag = u & U32(0x7FFFFFFF)
    h = np.where(mag > U32(0x43E80000), U32(0x7F), _nearest(mag, 3, 7))
    return (u >> U32(24) & U32(0x80) | h).astype(U8)


def widen_f8e4m3(h: np.ndarray) -> np.ndarray:
    """The float32 of words of float8_e4m3fn."""
    u = np.where(h & U8(0x7F) == U8(0x7F), U32(0x7FC00000), _wider(h, 3, 7))
    return ((h & U8(0x80)).astype(U32) << U32(24) | u).view(F32)


def round_f8e5m2(x: np.ndarray) -> np.ndarray:
    """Round float32 to words of float8_e5m2, to nearest even; beyond its range to infinity."""
    u = x.view(U32)
    mag = u & U32(0x7FFFFFFF)
    h = np.where(mag >= U32(0x47700000), U32(0x7C), _nearest(mag, 2, 15))
    h = np.where(mag > U32(0x7F800000), U32(0x7E), h)
    return (u >> U32(24) & U32(0x80) | h).astype(U8)


def widen_f8e5m2(h: np.ndarray) -> np.ndarray:
    """The float32 of words of float8_e5m2."""
    mag = h & U8(0x7F)
    u = np.where(mag == U8(0x7C), U32(0x7F800000), _wider(h, 2, 15))
    u = np.where(mag > U8(0x7C), U32(0x7FC00000), u)
    return ((h & U8(0x80)).astype(U32) << U32(24) | u).view(F32)


ROUND = {  # of types that are computed in float32, by name
    "float16": (round_f16, widen_f16),
    "bfloat16": (round_bf16, widen_bf16),
    "float8_e4m3fn": (round_f8e4m3, widen_f8e4m3),
    "float8_e5m2": (round_f8e5m2, widen_f8e5m2),
}
