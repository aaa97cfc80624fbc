"""Schemes: what people ask for. Each resolves, with a global shape and layout, to a law."""

from __future__ import annotations

from winit.schemes import constant as _constant
from winit.schemes import layout as _layout
from winit.schemes import orthogonal as _orthogonal
from winit.schemes import random as _random
from winit.schemes import scaled as _scaled
from winit.schemes import sparse as _sparse
from winit.schemes import structured as _structured
from winit.schemes.base import Scheme
from winit.schemes.constant import (
    constant,
    literal,
    ones,
    zeros,
)
from winit.schemes.layout import (
    with_layout,
)
from winit.schemes.orthogonal import (
    delta_orthogonal,
    orthogonal,
    semi_orthogonal,
)
from winit.schemes.random import (
    embedding,
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
from winit.schemes.scaled import (
    depth_scaled,
    gpt2_residual,
    siren,
    small_init,
    wang_init,
)
from winit.schemes.sparse import (
    sparse,
    sparse_columns,
    sparse_rows,
)
from winit.schemes.structured import (
    chrono_bias,
    dirac,
    hadamard,
    identity,
    idinit,
    irnn,
    looks_linear,
    lstm_bias,
    mamba_a_log,
    mamba_dt_bias,
    stft,
)

__all__ = [
    "Scheme",
    "chrono_bias",
    "constant",
    "delta_orthogonal",
    "depth_scaled",
    "dirac",
    "embedding",
    "glorot_normal",
    "glorot_uniform",
    "gpt2_residual",
    "hadamard",
    "he_normal",
    "he_uniform",
    "identity",
    "idinit",
    "irnn",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "literal",
    "looks_linear",
    "lstm_bias",
    "mamba_a_log",
    "mamba_dt_bias",
    "named",
    "normal",
    "ones",
    "orthogonal",
    "semi_orthogonal",
    "siren",
    "small_init",
    "sparse",
    "sparse_columns",
    "sparse_rows",
    "stft",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "wang_init",
    "with_layout",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

_MODULES = (_constant, _layout, _orthogonal, _random, _scaled, _sparse, _structured)


def named() -> dict[str, type[Scheme]]:
    """Return every public scheme by name, aliases included."""
    return {name: getattr(module, name) for module in _MODULES for name in module.__all__}
