"""winit: fast, seeded, bit-reproducible initialisation of neural-network weights.

An element's value is a function of (seed, tensor name, element index, law, dtype) and of nothing else.

>>> import winit
>>> winit.draw(winit.he_normal(), (256, 784), seed=0, name="fc1.weight").shape
(256, 784)
"""

from typing import TYPE_CHECKING, Any

from winit._kernels import engines, use_engine
from winit.activations import gain
from winit.fill import add, draw, fill, words
from winit.schemes import (
    Scheme,
    constant,
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
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from winit.shapes import Axes, fans

if TYPE_CHECKING:
    from winit.plan import Param, Plan

__version__ = "0.1.0"
STREAM_VERSION = 1

__all__ = [
    "STREAM_VERSION",
    "Axes",
    "Param",
    "Plan",
    "Scheme",
    "add",
    "constant",
    "draw",
    "engines",
    "fans",
    "fill",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "literal",
    "normal",
    "ones",
    "truncated_normal",
    "uniform",
    "use_engine",
    "variance_scaling",
    "words",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]


def __getattr__(name: str) -> Any:
    # Plans bring TOML and patterns, 8 ms that those who fill single tensors need not wait for.
    if name in ("Param", "Plan"):
        from winit import plan

        globals().update(Param=plan.Param, Plan=plan.Plan)
        return globals()[name]
    raise AttributeError(f"module 'winit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
