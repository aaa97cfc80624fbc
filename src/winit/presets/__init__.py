"""Presets: the initialisers of torch, JAX and Keras by their own names, parameters and exact laws.

The same name means different laws: he_normal is cut in JAX and Keras and not in torch, uniform(scale) is [0, scale) in
JAX, torch's truncation is at absolute values. Each framework's module here gives what that framework means, as a winit
scheme, and imports no framework. Those with fans take them from the axes that the framework takes them from, whatever
layout the tensor is said to have. Bits are winit's own: the law is theirs, the stream is not.

>>> from winit import presets
>>> [preset.moments((64, 64)).high for preset in (presets.torch.kaiming_normal_(), presets.jax.he_normal())]
[inf, 0.4019361942869827]
"""

from __future__ import annotations

from winit.presets import jax, keras, torch

__all__ = ["jax", "keras", "torch"]


def __dir__() -> list[str]:
    return __all__
