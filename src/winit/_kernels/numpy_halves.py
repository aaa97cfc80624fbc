"""Half types in NumPy, as 16-bit words: the last part of winit/approx.h, in its order and under its names.

One function rounds finite numbers and the others: what C and Numba gain by one for each is speed.
"""

from __future__ import annotations

import numpy as np

__all__ = ["ROUND", "round_bf16", "round_f16", "widen_bf16", "widen_f16"]

F32, U16, U32 = np.float32, np.uint16, np.uint32


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


ROUND = {2: (round_f16, widen_f16), 3: (round_bf16, widen_bf16)}  # by number of the dtype
