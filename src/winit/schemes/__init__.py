"""Schemes: what people ask for. Each resolves, with a global shape and layout, to a law."""

from __future__ import annotations

from winit.schemes import constant as _constant
from winit.schemes import orthogonal as _orthogonal
from winit.schemes import random as _random
from winit.schemes import sparse as _sparse
from winit.schemes.base import Scheme
from winit.schemes.constant import constant, literal, ones, zeros
from winit.schemes.orthogonal import delta_orthogonal, orthogonal, semi_orthogonal
from winit.schemes.random import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
)
from winit.schemes.sparse import sparse, sparse_columns, sparse_rows

__all__ = [
    "Scheme",
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
    "literal",
    "named",
    "normal",
    "ones",
    "orthogonal",
    "semi_orthogonal",
    "sparse",
    "sparse_columns",
    "sparse_rows",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]


def named() -> dict[str, type[Scheme]]:
    """Return every public scheme by name, aliases included."""
    return {name: getattr(module, name) for module in (_constant, _orthogonal, _random, _sparse) for name in module.__all__}
