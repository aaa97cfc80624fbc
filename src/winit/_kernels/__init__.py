"""Engines: the range kernels behind one contract, and which of them is in use.

The contract. An engine is a module that offers

    Fill(isa, law, dtype, key, params, dest, start, steps, scale=None)   one law of one stream, bound to a destination
    Fill.run(lo, hi)      fill the destination's elements lo..hi, counted in its row-major order
    Sparse(isa, dtype, key, params, shape, units, keep, dest=None, begin=None, scale=None)   connections of one stream
    Sparse.run(lo, hi)    as Fill.run; by_units tells whether a range of elements meets few units
    Sparse.rows(first, last, unit_step, input_step, inputs, values)   inputs of units, ascending, and the values there
    words(isa, key, tag, lo, dest)                            the raw stream, from word lo on
    fill_memory(isa, law, dtype, key, params, address, size)  of "cython" alone: contiguous memory
    Start()               of "cython" alone: begin(helper) before a thread's ranges of one call, end() after them
    instruction_sets()    of "cython" alone: the builds that can run here, widest last; the others have one, "baseline"

law and dtype are row numbers of LAWS and DTYPES; key is two 32-bit words; params are the law's numbers, which
winit._core.laws has rounded to its arithmetic type; dest is a writable buffer (narrow types as words: half types as
uint16, float8 as uint8), each axis of which advances the global flat index by its entry in steps, from start on. run is
pure: disjoint ranges may run in any order, in any threads, and any engine on any instruction set writes the same bytes.
Kernels check nothing that the door has checked, and know no scheme.

The dense pass, in an extension of its own for "cython" and in the engine's face for the others (dense_in_use):

    Sampled(isa, law, dtype, key, params, shape, transposed)          an operand: weights of a stream
    Gradient(isa, grad, activation, param, kept, sums, transposed)    an operand: grad * f'; add_up(i) sums rows 64 i on
    Product(isa, a, b, c, threads, *, exact, add, activation, param, bias, kept, moments, saturated)
                          C = A B bound to its matrices, with `add` C + A B; with an activation, f(A B + bias)
    Product.run(limit)    do up to `limit` of its `tasks`, in any threads, up to `threads` of them, at once
    activate(isa, activation, param, src, dest, wide, derive)         f, or a product with f', over bytes
    measure(isa, y, start, lengths, sums)    statistics of 64 rows of a batch in memory (statistics.h)
    reflectors(v, half, sign)        Householder vectors of rows, in place (householder.h)
    triangle(gram, half, to, work)   minus the triangular factor of their product

An engine's products have the same bits for any threads, strides and instruction set; those of different engines agree
within the bound of a dot product, and where `exact` to the bit.

What is behind an engine's face is cut alike in all three, so that who has found a thing in one finds it in the others:

    concept             C                       Numba                   NumPy
    words               winit/philox.h          numba_words.py          numpy_words.py
    words to values     winit/approx.h          numba_points.py         numpy_points.py
    narrow types        winit/approx.h          numba_halves.py         numpy_halves.py
    laws, fills         sample.h                numba_sampling.py       numpy_sampling.py
    sparse              scattered.h, sparse.c   numba_sparse.py         numpy_sparse.py
    activations         activations.h           numba_activations.py    activation_rows.py
    exact product       gemm.h                  numba_gemm.py           numpy_gemm.py
    dense pass          dense.h                 numba_dense.py          numpy_dense.py
    Householder         householder.c           numba_householder.py    numpy_householder.py
    the face            sample.pyx, dense.pyx   numba_engine.py         numpy_engine.py

"triton" draws what lies on a CUDA or ROCm device, whichever engine is in use: dest is a DeviceArray then
(triton_memory.py), which names its engine. Of the contract it has Fill, whose run queues launches and waits for nothing
(`queues`), and words. It is cut as the others are: triton_words.py, triton_points.py, triton_halves.py,
triton_sampling.py, and triton_engine.py, the face.

winit_NAME_f32 and winit_NAME_f64 of approx.h are NAME_f32 and NAME_f64 in Numba, and NAME in NumPy, where the type
comes with the numbers; all in the order of approx.h. A law goes by its first word (truncated_normal: truncated) and its
type, in NumPy by the word alone, in the order of LAWS. numba_compiler.py has how Numba compiles them.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

try:
    sample: Any = import_module("winit._kernels.sample")
except ModuleNotFoundError as error:  # installed with WINIT_NO_EXTENSIONS=1
    if error.name != "winit._kernels.sample":
        raise
    sample = None

__all__ = ["DTYPES", "LAWS", "default_float_mode", "dense_in_use", "device_engine", "drawing_for", "engines", "in_use"]
__all__ += ["thread_start", "use_engine"]

LAWS = ("constant", "uniform", "normal", "truncated_normal")
DTYPES = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")

ENGINES = ("cython", "numba", "reference")
MODULES = {"numba": "numba_engine", "reference": "numpy_engine"}
DEVICE_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of NVIDIA's driver, of AMD's, and of Windows' for Linux
_in_use: tuple[str, Any, str]


def _present(name: str) -> bool:
    if name == "numba":  # told without importing it, which takes half a second
        return find_spec("numba") is not None
    return name == "reference" or sample is not None


_MISSING = {
    "numba": "engine 'numba' needs the package numba, which is not installed: pip install 'winit[numba]'",
    "cython": "engine 'cython' is not installed: this winit was installed with WINIT_NO_EXTENSIONS=1; "
    "install it again without, on a machine with a C compiler",
}


def _module(name: str) -> ModuleType:
    if not _present(name):
        raise ValueError(_MISSING[name])
    return sample if name == "cython" else import_module(f"winit._kernels.{MODULES[name]}")


def _no_device() -> str | None:
    """Say why nothing can be drawn on a device here; None where it can. torch is not imported where a look suffices."""
    for package in ("torch", "triton"):
        if find_spec(package) is None:
            return f"engine 'triton' needs the package {package}, which is not installed: pip install 'winit[triton]'"
    none = "engine 'triton' needs a CUDA or ROCm device, and {} none"
    if "torch" not in sys.modules and not any(Path(name).exists() for name in DEVICE_FILES):
        return none.format("this machine has")
    import torch

    return None if torch.cuda.is_available() else none.format("torch finds")


def device_engine() -> tuple[Any, str | None]:
    """Return (the engine for memory on a device, None), or (None, why there is none)."""
    reason = _no_device()
    return (None, reason) if reason else (import_module("winit._kernels.triton_engine"), None)


def _instruction_sets(name: str) -> tuple[str, ...]:
    if not _present(name):
        return ()
    return sample.instruction_sets() if name == "cython" else ("baseline",)


def _select(name: str, isa: str | None) -> tuple[str, Any, str]:
    if not isinstance(name, str) or not isinstance(isa, (str, type(None))):
        what, kind = ("engine", type(name)) if not isinstance(name, str) else ("isa", type(isa))
        raise TypeError(f"{what} must be a str, not {kind.__name__}")
    if name == "triton":
        raise ValueError("engine 'triton' is not chosen: it draws what lies on a device, whichever engine is in use")
    if name not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(map(repr, ENGINES))}, not {name[:60]!r}")
    module, present = _module(name), _instruction_sets(name)
    if isa is not None and isa not in present:
        raise ValueError(f"engine {name!r} runs on {', '.join(map(repr, present))} here, not on {isa[:60]!r}")
    return name, module, isa or present[-1]


class use_engine:  # noqa: N801
    """Choose the engine, and with `isa` its instruction set, from here on or for the length of a with block.

    It changes no value, only the time that values take. The choice is the process's, not a thread's. Called alone it
    switches; as a context manager it switches on every entry and restores on every exit, however often it is entered.

    Parameters
    ----------
    name : "cython" (default where installed), "numba" (where numba is installed; compiles when first used, some
        seconds) or "reference" (plain NumPy).
    isa : None (the widest present), "baseline", on aarch64 "neon", on x86-64 "avx2" or "avx512".

    Raises
    ------
    TypeError : not a str. ValueError : an engine or instruction set that is not present.

    >>> import winit
    >>> with winit.use_engine("reference"):
    ...     slow = winit.draw(winit.normal(), 3, seed=0)
    >>> bool((slow == winit.draw(winit.normal(), 3, seed=0)).all())
    True

    """

    def __init__(self, name: str, isa: str | None = None) -> None:
        global _in_use
        self._chosen = _select(name, isa)
        # What is to come back on exit. A call that is followed by `with` has switched already: what was before the
        # call comes back; a later entry of the same object restores what it finds.
        self._call: tuple[str, Any, str] | None = _in_use
        self._before: list[tuple[str, Any, str]] = []
        _in_use = self._chosen

    def __enter__(self) -> use_engine:
        global _in_use
        self._before.append(_in_use if self._call is None else self._call)
        self._call = None
        _in_use = self._chosen
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _in_use
        _in_use = self._before.pop()


def default_float_mode() -> AbstractContextManager[object]:
    """Return a context in which this thread's arithmetic rounds to nearest and keeps subnormals.

    Without the extension there is none: the NumPy engine then computes in whatever mode the process is in.
    """
    return nullcontext() if sample is None else sample.DefaultFloatMode()


def thread_start() -> Any:
    """Return what keeps the threads of a call apart while they start (sample.Start); None where nothing does.

    That is without the extension, and where the environment says WINIT_PLACE_THREADS=0.
    """
    return None if sample is None or os.environ.get("WINIT_PLACE_THREADS") == "0" else sample.Start()


def dense_in_use() -> tuple[Any, str]:
    """Return (module with the dense pass of the engine in use, instruction set)."""
    name, module, isa = _in_use
    if name == "cython":
        from winit._kernels import dense

        return dense, isa
    return module, isa


def in_use() -> tuple[str, Any, str]:
    """Return (engine name, module, instruction set)."""
    return _in_use


def drawing_for(out: Any) -> tuple[Any, str]:
    """Return (module, instruction set) of what draws to an array: of the engine in use, or of the array's device."""
    engine = getattr(out, "engine", None)
    return _in_use[1:] if engine is None else (engine, "")


def engines() -> dict[str, dict[str, Any]]:
    """Tell which engines are present, on which instruction sets, which is in use, and why one is not present.

    "triton" is in use for all that lies on a CUDA or ROCm device where it is present, beside the one that is in use for
    the CPU's memory. Without it such tensors are drawn on the CPU and copied.

    Returns
    -------
    dict : engine name -> {"present": bool, "instruction_sets": tuple of str, "in_use": None or the instruction set,
        "reason": None, or why it is not present}.

    >>> import winit
    >>> winit.engines()["reference"]["instruction_sets"]
    ('baseline',)

    """
    found = {
        name: {
            "present": _present(name),
            "instruction_sets": _instruction_sets(name),
            "in_use": _in_use[2] if _in_use[0] == name else None,
            "reason": None if _present(name) else _MISSING[name],
        }
        for name in ENGINES
    }
    reason = _no_device()
    return found | {"triton": {"present": not reason, "instruction_sets": (), "in_use": None, "reason": reason}}


_in_use = _select("reference" if sample is None else "cython", None)
