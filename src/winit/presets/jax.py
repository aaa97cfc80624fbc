"""jax.nn.initializers (0.10), which flax's linen and nnx re-export: its functions, as factories of schemes.

Without the key and the dtype. zeros and ones are initialisers themselves in JAX, and factories here.
"""

from __future__ import annotations

from collections.abc import Sequence

from winit.laws import real
from winit.schemes import Scheme, constant, ones, truncated_normal, uniform, zeros, with_layout
from winit.schemes import delta_orthogonal as _delta_orthogonal
from winit.schemes import normal as _normal
from winit.schemes import orthogonal as _orthogonal
from winit.schemes import variance_scaling as _variance_scaling
from winit.shapes import Axes

__all__ = [
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

AxisOrAxes = int | Sequence[int]
