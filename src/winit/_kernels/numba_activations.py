"""Activations and their derivatives in Numba, one element (activations.h; in NumPy activation_rows.py).

value_of and slope_of go by the numbers of winit_activation in dense_table.h, in float64. exp and tanh are Numba's own:
unlike those of laws, the bits of an activation are an engine's.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

from winit._kernels.activation_rows import GELU_CUBE, GELU_SLOPE, SELU_ALPHA, SELU_SCALE
from winit._kernels.numba_compiler import point

__all__ = ["slope_of", "value_of"]


@point
def logistic(x):
    t = math.exp(-abs(x))
    return (t if x < 0 else 1.0) / (1.0 + t)


@point
def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@point
def gelu_argument(x):
    held = min(max(x, -64.0), 64.0)
    return GELU_SLOPE * (held + GELU_CUBE * held * held * held)


@point
def cdf(x):
    return 0.5 * math.erfc(-x * 0.7071067811865476)


@point
def value_of(code, x, p):
    if code == 0:
        return x
    if code == 1:
        return logistic(x)
    if code == 2:
        return math.tanh(x)
    if code == 3:
        return 0.0 if x < 0 else x
    if code == 4:
        return p * x if x < 0 else x
    if code == 5:
        return x if x > 0 else p * math.expm1(x)
    if code == 6:
        return SELU_SCALE * (x if x > 0 else SELU_ALPHA * math.expm1(x))
    if code == 7:
        return softplus(x)
    if code == 8:
        return x * cdf(x)
    if code == 9:
        return x * logistic(gelu_argument(x))
    if code == 10:
        return x * logistic(x)
    return x * math.tanh(softplus(x))


@point
def slope_of(code, x, p):
    """Tell the derivative by the input of gelu, gelu_tanh, silu and mish, the output of others (p: slope_number)."""
    if code == 0:
        return 1.0
    if code == 1:
        return x * (1.0 - x)
    if code == 2:
        return (1.0 - x) * (1.0 + x)
    if code == 3:
        return 1.0 if x > 0 else 0.0
    if code == 4:
        return 1.0 if x > 0 else p
    if code == 5:
        return 1.0 if x > 0 else x + p
    if code == 6:
        return SELU_SCALE if x > 0 else x + p
    if code == 7:
        return -math.expm1(-x)
    if code == 8:
        return cdf(x) + x * (0.3989422804014327 * math.exp(-0.5 * x * x))
    if code == 9:
        held = min(max(x, -64.0), 64.0)
        u = gelu_argument(x)
        s = logistic(u)
        return s + held * s * logistic(-u) * (GELU_SLOPE * (1.0 + 3.0 * GELU_CUBE * held * held))
    if code == 10:
        return logistic(x) * (1.0 + x * logistic(-x))
    t = math.tanh(softplus(x))
    return t + x * (1.0 - t * t) * logistic(x)
