"""The kernel contract in plain NumPy: slow, obvious, the oracle of the others and the engine without a compiler.

This is the engine's face; winit._kernels has the contract, and a table of the modules behind each engine. Every value
is computed from its own index: words of that index, then the transform of docs/streams.md, one NumPy operation per
rounding.
"""

from __future__ import annotations

from winit._kernels.numpy_dense import Gradient, Product, Sampled, activate, measure
from winit._kernels.numpy_householder import reflectors, triangle
from winit._kernels.numpy_sampling import Fill
from winit._kernels.numpy_sparse import Sparse
from winit._kernels.numpy_words import words

__all__ = [
    "Fill",
    "Gradient",
    "Product",
    "Sampled",
    "Sparse",
    "activate",
    "measure",
    "reflectors",
    "triangle",
    "words",
]
