"""Keras 3's initializers with winit's values, and the weights of a built model by the names of its structure.

>>> import keras, winit, winit.keras
>>> model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(4)])
>>> _ = winit.keras.initialize(model, [("*.bias", winit.zeros()), ("*", winit.he_normal())], seed=0)
"""

from winit.keras.assigning import initialize, plan
from winit.keras.initializers import (
    STFT,
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    IdentityInitializer,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    OrthogonalInitializer,
    RandomNormal,
    RandomUniform,
    STFTInitializer,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
    constant,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    identity,
    lecun_normal,
    lecun_uniform,
    ones,
    orthogonal,
    random_normal,
    random_uniform,
    stft,
    truncated_normal,
    variance_scaling,
    zeros,
)

__all__ = [
    "STFT",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "STFTInitializer",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "initialize",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "plan",
    "random_normal",
    "random_uniform",
    "stft",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]


def __dir__() -> list[str]:
    return __all__
