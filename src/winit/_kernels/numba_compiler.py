"""How Numba compiles the kernels, and what they have below arithmetic: floats' bits, addresses.

No fastmath: LLVM then contracts and reorders nothing. Two kinds of functions:

compiled   one that is called, kept on disk
point      one that Numba itself copies into what calls it, before LLVM looks for loops to vectorise

What is kept on disk holds the points that were copied in, from whatever module. Numba takes it for fresh while the
function's own file is what it was, so the names of files on disk say which edition of all of SOURCES made them.
"""

# mypy: allow-untyped-decorators
from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

try:
    from llvmlite import ir
    from numba import config, njit, types
    from numba.extending import intrinsic
except ImportError:
    raise ImportError(
        "engine 'numba' needs the package numba, which is not installed: pip install 'winit[numba]'"
    ) from None

if config.DISABLE_JIT:
    raise ImportError(
        "engine 'numba' and winit.jit are compiled by Numba, and NUMBA_DISABLE_JIT=1 has turned its compiler off"
    )

__all__ = [
    "F32",
    "F64",
    "I32",
    "I64",
    "OPTIONS",
    "SOURCES",
    "U8",
    "U16",
    "U32",
    "U64",
    "bits_f32",
    "bits_f64",
    "compiled",
    "float_f32",
    "float_f64",
    "kept",
    "point",
    "pointer",
]

F32, F64, I32, I64 = np.float32, np.float64, np.int32, np.int64
U8, U16, U32, U64 = np.uint8, np.uint16, np.uint32, np.uint64

# All said here, since what is not is taken from the caller for whom a function is compiled: fastmath would change bits.
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": False, "boundscheck": False}

Function = TypeVar("Function", bound=Callable[..., Any])

# ---- a) compiling

SOURCES = (  # all that compiled functions are made of
    "activation_rows",
    "coefficients",
    "numba_activations",
    "numba_compiler",
    "numba_dense",
    "numba_gemm",
    "numba_halves",
    "numba_householder",
    "numba_points",
    "numba_sampling",
    "numba_sparse",
    "numba_words",
)


def _edition() -> str:
    """A hash of SOURCES; where there are none to read, Numba keeps nothing or goes by the program that holds them."""
    digest = hashlib.sha256()
    for name in SOURCES:
        try:
            digest.update(pkgutil.get_data("winit._kernels", f"{name}.py") or b"")
        except OSError:
            continue
    return digest.hexdigest()[:8]


EDITION = _edition()


def kept(made: Callable[[bool], Any]) -> Any:
    """Keep what is compiled on disk where there is a place for it: `made` is given whether to."""
    try:
        return made(True)
    except RuntimeError:  # no directory that can be written
        return made(False)


def compiled(function: Function) -> Function:
    """Compile without the GIL."""
    function.__qualname__ = f"{function.__name__}-{EDITION}"  # what Numba names files after
    return kept(lambda keep: njit(cache=keep, **OPTIONS)(function))


def point(function: Function) -> Function:
    """Compile as part of what calls it: copied in before LLVM looks for loops to vectorise, and finds no calls."""
    return njit(inline="always", **OPTIONS)(function)


# ---- b) bits and addresses


def _cast(source: Any, target: Any) -> Any:
    def typed(typing_context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(source), generate

    return intrinsic(typed)


bits_f32, float_f32 = _cast(types.float32, types.uint32), _cast(types.uint32, types.float32)
bits_f64, float_f64 = _cast(types.float64, types.uint64), _cast(types.uint64, types.float64)


@intrinsic
def pointer(typing_context: Any, address: Any) -> Any:
    """Return the pointer of an address, an int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate
