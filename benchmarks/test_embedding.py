"""What do the engines cost beside each other, and what does each road into other people's code cost a call?"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import winit

LAWS = {"normal": winit.normal(), "uniform": winit.uniform(), "truncated_normal": winit.truncated_normal()}
ROUNDS = {"rounds": 7, "warmup_rounds": 2, "iterations": 1}
CALLS = 1000  # of a compiled loop


@pytest.mark.parametrize("library", ["winit", "winit-numba", "winit-reference", "numpy"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("law", LAWS)
def test_engines(benchmark, arrays, law, dtype, library):
    """winit is the compiled engine, winit-reference the one in plain NumPy, numpy its own generator."""
    benchmark.group = f"{law} {dtype}, one thread, by engine"
    out = arrays(dtype)[: 1 << 22]
    benchmark.extra_info.update(elements=out.size, library=library)
    if library == "numpy":
        if law == "truncated_normal" or dtype not in ("float32", "float64"):
            pytest.skip("NumPy has no such generator")
        generator = np.random.default_rng(0)
        draw = generator.standard_normal if law == "normal" else generator.random
        benchmark.pedantic(lambda: draw(out=out, dtype=dtype), **ROUNDS)
        return
    if out.dtype == np.uint16:
        out = out.view(np.float16 if dtype == "float16" else pytest.importorskip("ml_dtypes").bfloat16)
    engine = {"winit": "cython"}.get(library, library.removeprefix("winit-"))
    if engine == "reference":
        out = out[: 1 << 18]
        benchmark.extra_info.update(elements=out.size)
    if engine == "numba":
        pytest.importorskip("numba")
    with winit.use_engine(engine):
        benchmark.pedantic(lambda: winit.fill(out, LAWS[law], seed=0, threads=1), **ROUNDS)


@pytest.fixture(scope="session")
def loops(tmp_path_factory):
    """benchmarks/loops.pyx, built as somebody else's extension would be."""
    pytest.importorskip("Cython")
    place = tmp_path_factory.mktemp("loops")
    source = place / "loops.pyx"
    source.write_text(Path(__file__).with_name("loops.pyx").read_text())
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-q", "-i", "-3", str(source)]
    subprocess.run(command, check=True, cwd=place)
    (library,) = place.glob("loops.*.so")
    spec = importlib.util.spec_from_file_location("loops", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def road(name, loops):
    """A call of a road, and how often it fills 16 elements."""
    out, words, scheme = np.zeros(16, np.float32), np.zeros(16, np.uint16), LAWS["normal"]
    if name == "winit":
        return lambda: winit.fill(out, scheme, seed=0, name="w"), 1
    if name == "winit-add":
        return lambda: winit.add(out, scheme, seed=0, name="w", scale=1e-3), 1
    if name == "winit-numba":

        def fill():
            with winit.use_engine("numba"):
                winit.fill(out, scheme, seed=0, name="w")

        return fill, 1
    if name == "winit-memoryview":
        view = memoryview(out)
        return lambda: winit.fill(view, scheme, seed=0, name="w"), 1
    if name == "winit-words":
        return lambda: winit.fill(words, scheme, seed=0, name="w", dtype="bfloat16"), 1
    if name == "winit-dlpack":
        tensor = pytest.importorskip("torch").zeros(16)
        return lambda: winit.fill(tensor, scheme, seed=0, name="w"), 1
    if name == "winit-generator":
        rng = np.random.Generator(winit.BitGenerator(0, "w"))
        return lambda: rng.standard_normal(out=out, dtype=np.float32), 1
    if name == "numpy":
        rng = np.random.default_rng(0)
        return lambda: rng.standard_normal(out=out, dtype=np.float32), 1
    if name.startswith("winit-jit"):
        numba = pytest.importorskip("numba")
        from winit import jit

        key = jit.key(0, "w")
        if name == "winit-jit":
            return lambda: jit.fill_normal(out, key, 0), 1

        @numba.njit
        def inside(out, key, calls):
            for i in range(calls):
                jit.fill_normal(out, key, 16 * i)

        return lambda: inside(out, key, CALLS), CALLS
    key = winit.stream.key(0, "w")
    if name == "winit-cython":
        return lambda: loops.calls(out, key, CALLS), CALLS
    import ctypes

    signature = b"void (uint64_t, uint64_t, uint64_t, float *, double, double)"
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )(winit.stream.__pyx_capi__["fill_normal"], signature)
    kinds = (*[ctypes.c_uint64] * 3, ctypes.c_void_p, *[ctypes.c_double] * 2)
    fill_normal, address = ctypes.CFUNCTYPE(None, *kinds)(pointer), out.ctypes.data
    return lambda: fill_normal(key, 0, 16, address, 0.0, 1.0), 1


ROADS = ("winit", "winit-add", "winit-memoryview", "winit-dlpack", "winit-words", "winit-numba", "winit-jit")
ROADS += ("winit-jit-inside", "winit-cython", "winit-ctypes", "winit-generator", "numpy")


@pytest.mark.parametrize("library", ROADS)
def test_roads(benchmark, loops, library):
    import winit.stream  # noqa: F401

    benchmark.group = "normal float32, 16 elements, one call of each road"
    call, calls = road(library, loops)
    benchmark.extra_info.update(elements=16, library=library, calls=calls)
    benchmark(call)
