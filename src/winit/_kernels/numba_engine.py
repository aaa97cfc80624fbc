"""The kernel contract in Numba: the same operations in the same order, so the same bits, compiled when first used.

This is the engine's face; winit._kernels has the contract, and a table of the modules behind each engine. Loops are
plain and over arrays that LLVM vectorises; numba_compiler.py compiles them. docs/streams.md defines the bits.
"""

from __future__ import annotations

from winit._kernels.numba_compiler import I32, I64, OPTIONS
from winit._kernels.numba_dense import Gradient, Product, Sampled, activate, measure
from winit._kernels.numba_halves import round_finite_bf16, round_finite_f8e4m3, round_finite_f8e5m2, round_finite_f16
from winit._kernels.numba_householder import reflectors, triangle
from winit._kernels.numba_points import int52_f64 as int52
from winit._kernels.numba_points import int53_f64 as int53
from winit._kernels.numba_points import normal_pair_f32 as normal_pair
from winit._kernels.numba_points import normal_pair_f64
from winit._kernels.numba_points import truncated_f32 as truncated_point
from winit._kernels.numba_points import truncated_f64 as truncated_point_f64
from winit._kernels.numba_sampling import VALUES, Fill
from winit._kernels.numba_sparse import Sparse
from winit._kernels.numba_words import LOW, in_order, pack, words
from winit._kernels.numba_words import block_at as block_of
from winit._kernels.numba_words import philox4x32 as philox

__all__ = ["Fill", "Gradient", "Product", "Sampled", "Sparse", "activate", "measure", "reflectors", "triangle", "words"]

# What winit.jit makes its functions of, under the names that it has for them.
__all__ += ["I32", "I64", "LOW", "OPTIONS", "VALUES", "block_of", "in_order", "int52", "int53", "normal_pair"]
__all__ += ["normal_pair_f64", "pack", "philox", "round_finite_bf16", "round_finite_f16"]
__all__ += ["round_finite_f8e4m3", "round_finite_f8e5m2", "truncated_point", "truncated_point_f64"]
