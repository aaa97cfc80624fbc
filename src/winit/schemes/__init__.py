"""Schemes: what people ask for. Each resolves, with a global shape and layout, to a law."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from winit._core.scheme import Scheme
from winit.schemes.constants import (
    constant,
    literal,
    ones,
    zeros,
)
from winit.schemes.fan_scaled import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
)
from winit.schemes.plain import (
    embedding,
    normal,
    truncated_normal,
    uniform,
)
from winit.schemes.relayout import (
    with_layout,
)
from winit.schemes.sparsity import (
    sparse,
    sparse_columns,
    sparse_rows,
)

if TYPE_CHECKING:
    from winit.schemes.depth_width import (
        depth_scaled,
        gpt2_residual,
        siren,
        small_init,
        wang_init,
    )
    from winit.schemes.identities import dirac, hadamard, identity, idinit
    from winit.schemes.recurrent import chrono_bias, irnn, lstm_bias
    from winit.schemes.rotations import delta_orthogonal, looks_linear, orthogonal, semi_orthogonal
    from winit.schemes.spectral import stft
    from winit.schemes.state_space import mamba_a_log, mamba_dt_bias

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

_MODULES = (
    "constants",
    "plain",
    "fan_scaled",
    "depth_width",
    "sparsity",
    "rotations",
    "identities",
    "recurrent",
    "state_space",
    "spectral",
    "relayout",
)
# Those who fill tensors with the plain laws need not wait for these: a quarter of the time that importing winit takes.
LATER = {
    "depth_scaled": "depth_width",
    "gpt2_residual": "depth_width",
    "siren": "depth_width",
    "small_init": "depth_width",
    "wang_init": "depth_width",
    "chrono_bias": "recurrent",
    "dirac": "identities",
    "hadamard": "identities",
    "identity": "identities",
    "idinit": "identities",
    "irnn": "recurrent",
    "looks_linear": "rotations",
    "lstm_bias": "recurrent",
    "mamba_a_log": "state_space",
    "mamba_dt_bias": "state_space",
    "stft": "spectral",
    "delta_orthogonal": "rotations",
    "orthogonal": "rotations",
    "semi_orthogonal": "rotations",
}


def __getattr__(name: str) -> Any:
    if name in LATER:
        return globals().setdefault(name, getattr(import_module(f"winit.schemes.{LATER[name]}"), name))
    raise AttributeError(f"module 'winit.schemes' has no attribute {name!r}")


def named() -> dict[str, type[Scheme]]:
    """Return every public scheme by name, aliases included."""
    modules = [import_module(f"winit.schemes.{name}") for name in _MODULES]
    return {name: getattr(module, name) for module in modules for name in module.__all__}


def __dir__() -> list[str]:
    return __all__
