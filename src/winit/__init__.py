"""winit: fast, seeded, bit-reproducible initialisation of neural-network weights.

An element's value is a function of (seed, tensor name, element index, law, dtype) and of nothing else.

>>> import winit
>>> winit.draw(winit.he_normal(), (256, 784), seed=0, name="fc1.weight").shape
(256, 784)
"""

import importlib
from typing import TYPE_CHECKING, Any

from winit._core.drawing import add, draw, fill, words
from winit._core.keys import STREAM_VERSION
from winit._core.layouts import Axes, fans
from winit._kernels import engines, use_engine
from winit.activations import gain
from winit.schemes import LATER as _SCHEMES_LATER
from winit.schemes import (
    Scheme,
    constant,
    embedding,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    literal,
    normal,
    ones,
    sparse,
    sparse_columns,
    sparse_rows,
    truncated_normal,
    uniform,
    variance_scaling,
    with_layout,
    xavier_normal,
    xavier_uniform,
    zeros,
)

if TYPE_CHECKING:
    from winit import activations, checkpoint, jit, methods, net2net, presets, recipes, stream
    from winit._core.connections import draw_sparse
    from winit._core.headers import get_include
    from winit._dense.passes import dense_backward, dense_forward
    from winit._dense.virtual import Virtual
    from winit._plans.param import Param, Rule
    from winit._plans.plan import Plan
    from winit._trained.loader import pretrained
    from winit._trained.sources import Source
    from winit.bit_generator import BitGenerator
    from winit.schemes import (
        chrono_bias,
        delta_orthogonal,
        depth_scaled,
        dirac,
        gpt2_residual,
        hadamard,
        identity,
        idinit,
        irnn,
        looks_linear,
        lstm_bias,
        mamba_a_log,
        mamba_dt_bias,
        orthogonal,
        semi_orthogonal,
        siren,
        small_init,
        stft,
        wang_init,
    )

__version__ = "0.1.0"

__all__ = [
    "STREAM_VERSION",
    "Axes",
    "BitGenerator",
    "Param",
    "Plan",
    "Rule",
    "Scheme",
    "Source",
    "Virtual",
    "activations",
    "add",
    "checkpoint",
    "chrono_bias",
    "constant",
    "delta_orthogonal",
    "dense_backward",
    "dense_forward",
    "depth_scaled",
    "dirac",
    "draw",
    "draw_sparse",
    "embedding",
    "engines",
    "fans",
    "fill",
    "gain",
    "get_include",
    "glorot_normal",
    "glorot_uniform",
    "gpt2_residual",
    "hadamard",
    "he_normal",
    "he_uniform",
    "identity",
    "idinit",
    "irnn",
    "jit",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "literal",
    "looks_linear",
    "lstm_bias",
    "mamba_a_log",
    "mamba_dt_bias",
    "methods",
    "net2net",
    "normal",
    "ones",
    "orthogonal",
    "presets",
    "pretrained",
    "recipes",
    "semi_orthogonal",
    "siren",
    "small_init",
    "sparse",
    "sparse_columns",
    "sparse_rows",
    "stft",
    "stream",
    "truncated_normal",
    "uniform",
    "use_engine",
    "variance_scaling",
    "wang_init",
    "with_layout",
    "words",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]


# Plans bring TOML and patterns, the dense pass an extension of its own, a bit generator numpy.random: those who fill
# tensors need not wait for them.
_LATER = {
    "BitGenerator": "bit_generator",
    "Param": "_plans.param",
    "Rule": "_plans.param",
    "Plan": "_plans.plan",
    "Virtual": "_dense.virtual",
    "dense_backward": "_dense.passes",
    "dense_forward": "_dense.passes",
    "draw_sparse": "_core.connections",
    "get_include": "_core.headers",
    "Source": "_trained.sources",
    "pretrained": "_trained.loader",
    **dict.fromkeys(_SCHEMES_LATER, "schemes"),
}
_MODULES = ("activations", "checkpoint", "jit", "methods", "net2net", "presets", "recipes", "stream")


if not TYPE_CHECKING:  # which would take any name for one that is there

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(f"winit.{name}")
        if name in _LATER:
            module = importlib.import_module(f"winit.{_LATER[name]}")
            return globals().setdefault(name, getattr(module, name))
        import difflib

        near = difflib.get_close_matches(name, __all__, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise AttributeError(f"module 'winit' has no attribute {name!r}{hint}", name=name)


def __dir__() -> list[str]:
    return __all__
